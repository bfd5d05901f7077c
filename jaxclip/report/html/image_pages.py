"""Pictures and maps for a report: images with a page of their own, and where heads look on their examples."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxclip.clip import Clip
from jaxclip.model.text_maps import text_maps
from jaxclip.model.token_grid import TokenGrid
from jaxclip.report.html.packing import Pictures, packed, shorts
from jaxclip.report.html.questions import BATCH, Question, padded, states
from jaxclip.runs.run import Run

MOST_TEXTS = 64
"""Of a page: all texts of all questions up to here, beyond it the nearest of each question."""
NEAREST = 10
CHUNK = 64
"""Texts of a forward pass are so many, or twice or three times: padded, so that the model is compiled once."""


def image_pages(
    run: Run,
    clip: Clip,
    pictures: Pictures,
    rows: Sequence[int],
    questions: Sequence[Question],
    progress: Callable[[int], None],
) -> tuple[dict[int, dict[str, Any]], float]:
    """Everything about some images: scores, maps and direct effects of every text.

    Args:
      rows: of the images.
      questions: whose texts, each relative to the mean of its question.
      progress: called with the number of images done.

    Returns:
      A page by row, and the largest error of the sum of all terms, relative to the embedding's norm.
    """
    directions = np.concatenate([question.directions for question in questions])
    matrices = np.asarray(run.matrices)
    along, n = matrices @ directions.T, len(directions)
    asked = np.pad(directions, ((0, -n % CHUNK), (0, 0)))
    pages, error, tokens = {}, 0.0, TokenGrid.of(clip.config.vision)
    for start in range(0, len(rows), BATCH):
        some = list(rows[start : start + BATCH])
        images = pictures.inputs(padded(some))
        state = states(run, clip, images)
        terms = state.heads.transpose(1, 2, 0, 3)
        off = state.init + state.mlp.sum(1) + (terms @ matrices).sum((0, 1)) - state.embedding
        error = max(error, float((np.linalg.norm(off, axis=-1) / np.linalg.norm(state.embedding, axis=-1)).max()))
        maps = tokens.patches(np.asarray(text_maps(clip.vision, images, asked)[1]), 1)
        maps = maps[:, :, :n] * state.scale[:, None, None]
        heads, scores = (terms @ along).transpose(2, 0, 1, 3), state.embedding @ directions.T
        mlp, init = state.mlp @ directions.T, state.init @ directions.T
        for i, row in enumerate(some):
            chosen = _chosen(row, scores[i], questions)
            pages[row] = {
                "texts": chosen,
                "scores": shorts(scores[i, chosen]),
                "maps": packed(maps[i][:, chosen].T),
                "heads": packed(np.moveaxis(heads[i][..., chosen], -1, 0), read=True),
                "mlp": packed(mlp[i][:, chosen].T, read=True),
                "init": shorts(init[i, chosen]),
            }
        progress(len(some))
    return pages, error


def _chosen(row: int, scores: Float[np.ndarray, "text"], questions: Sequence[Question]) -> list[int]:
    """Texts of an image's page, places in the texts of all questions one after another."""
    if len(scores) <= MOST_TEXTS:
        return list(range(len(scores)))
    chosen, start = [], 0
    for question in questions:
        own = scores[start : start + len(question.texts)]
        meant = [int(question.labels[row])] if question.labels[row] >= 0 else []
        chosen += [start + place for place in dict.fromkeys([*meant, *np.argsort(-own)[:NEAREST].tolist()])]
        start += len(own)
    return chosen


def example_maps(
    run: Run,
    clip: Clip,
    pictures: Pictures,
    wanted: dict[int, list[tuple[int, int, int]]],
    texts: Float[np.ndarray, "text embed"],
    progress: Callable[[int], None],
) -> dict[tuple[int, int, int, int], dict[str, Any]]:
    """Where single heads speak for a text of theirs, in the run's units.

    Args:
      wanted: row -> (layer, head, text), many a row.
      texts: embeddings.

    Returns:
      (row, layer, head, text) -> a packed map.
    """
    found = {}
    tokens = TokenGrid.of(clip.config.vision)
    for some in _batches(wanted):
        images = pictures.inputs(padded(some))
        scale = states(run, clip, images).scale
        asked = sorted({text for row in some for _, _, text in wanted[row]})
        for start in range(0, len(asked), CHUNK):
            now = asked[start : start + CHUNK]
            place = {text: i for i, text in enumerate(now)}
            directions = np.zeros((CHUNK, texts.shape[1]), np.float32)
            directions[: len(now)] = texts[now]
            maps = np.asarray(text_maps(clip.vision, images, directions, each=True)[1])
            for i, row in enumerate(some):
                for layer, head, text in wanted[row]:
                    if text in place:
                        values = tokens.patches(maps[i, layer, head, :, place[text]]) * scale[i]
                        found[row, layer, head, text] = packed(values)
        progress(len(some))
    return found


def _batches(wanted: dict[int, list[tuple[int, int, int]]]) -> list[list[int]]:
    rows = sorted(row for row, asked in wanted.items() if asked)
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
