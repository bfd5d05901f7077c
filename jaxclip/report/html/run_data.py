"""What a report says of one run, in JSON types: its card, its heads with their texts, its images with their maps."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxclip.analyses.smells import size_smell
from jaxclip.analyses.textspan import TextSpan, head_bases
from jaxclip.clip import Clip
from jaxclip.config import VisionConfig
from jaxclip.data.found import some_sizes
from jaxclip.data.text_pools import Pool
from jaxclip.report.html.image_pages import MOST_TEXTS, example_maps, image_pages
from jaxclip.report.html.model_card import card, with_smells
from jaxclip.report.html.packing import PAGE, THUMBNAIL, Pictures, short, shorts, spread
from jaxclip.report.html.questions import (
    Question,
    Terms,
    embed,
    nearest_question,
    question_smells,
    run_questions,
    run_terms,
)
from jaxclip.runs.run import Run

Progress = Callable[[str, int, int], None]

PAGES = 6e6
"""Bytes that images' pages may take where nobody says how many there shall be."""


@dataclass(frozen=True)
class ReportOptions:
    """How much a report holds.

    Attributes:
      texts: that the user asks about; compared with each other.
      steps: texts of each head; cut to head_dim.
      examples: images a head answers most to, for each of its texts, and as many it answers least to.
      images: that have maps and direct effects of their own; as many as fit into about 6 MB by default.
      pictures: shown at all; when they are used up, heads of little variance show fewer examples.
      ranked: images that examples are chosen from.
    """

    texts: tuple[str, ...] = ()
    steps: int = 10
    examples: int = 4
    images: int | None = None
    pictures: int = 900
    ranked: int = 5000

    def __post_init__(self) -> None:
        for name in ("steps", "examples", "images", "pictures", "ranked"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}.")


def collect(
    run: Run, clip: Clip, pictures: Pictures, pool: Pool, options: ReportOptions, *, source: str, progress: Progress
) -> dict[str, Any]:
    """One run's part of the report.

    Args:
      run: with moments.
      clip: its model.
      pictures: its images.
      pool: the texts heads are described by; its categories are the properties heads are coloured by.
      options: how much.
      source: where the model was loaded from.
      progress: called with what is being done, how much of it is done and how much there is.

    Raises:
      ValueError: the run has no moments, or its images are not those it was made with.
    """
    progress("texts of heads", 0, 1)
    moments = run.moments
    embeddings = pool.embeddings if pool.embeddings is not None else embed(clip, [[t] for t in pool.texts])
    embeddings = np.asarray(embeddings, np.float32)
    spans = _spans(moments.heads, embeddings, options.steps)
    progress("texts of heads", 1, 1)
    terms = run_terms(run, clip, pictures, options.ranked)
    questions = run_questions(run, clip, terms, options.texts)
    small = size_smell(some_sizes(pictures.source), run.config.vision.image_size, len(pictures.source))
    smells = [*question_smells(questions, terms), *([small] if small else [])]
    questions = questions or [_from_heads(run, terms, spans, pool, embeddings, np.asarray(moments.heads.variance))]
    properties = tuple(dict.fromkeys(pool.categories))
    about = [properties.index(category) for category in pool.categories]
    said, heads = _heads(run, terms, spans, embeddings, questions, options, progress)
    budget = _within(heads, np.asarray(moments.heads.variance), options.pictures)
    rows = _pages(budget, run.rows, options.images or _affordable(run.config.vision, questions))
    wanted = _wanted(heads)
    n = len(rows) + len([row for row in wanted if wanted[row]])
    done = Counter()

    def count(some: int) -> None:
        done["all"] += some
        progress("maps", done["all"], n)

    pages, error = image_pages(run, clip, pictures, rows, questions, count)
    maps = example_maps(run, clip, pictures, wanted, embeddings, count)
    shown = sorted({*budget, *rows})
    images = {row: place for place, row in enumerate(shown)}
    used = {}  # places in the pool -> places in the report
    for head in (head for layer in heads for head in layer):
        for entry in head["basis"]:
            used.setdefault(entry["text"], len(used))
    return {
        "name": run.folder.name,
        "model": clip.config.name,
        "units": "cosine similarity" if run.units == "normalized" else "units of the embedding",
        "layers": clip.config.vision.n_layers,
        "heads": clip.config.vision.n_heads,
        "grid": list(clip.config.vision.grid),
        "ranked": len(terms.rows),
        "n_images": run.n_images,
        "card": with_smells(card(run, clip, source, error, len(rows), pool), smells),
        "properties": list(properties),
        "texts": [{"text": pool.texts[i], "property": pool.categories[i] if about else None} for i in used],
        "variance": _variance(moments),
        "questions": said,
        "pages": [[_page(head, layer, i, images, maps, used, about, len(properties)) for i, head in enumerate(row)]
                  for layer, row in enumerate(heads)],
        "images": [_image(pictures, row, pages.get(row)) for row in shown],
    }  # fmt: skip


def _spans(moments: Any, texts: Float[np.ndarray, "text embed"], steps: int) -> list[TextSpan]:
    """Text bases, one stack a layer."""
    most = min(moments.centre.value.shape[-1] - 3, texts.shape[-1])
    spans = jax.tree.map(np.asarray, head_bases(moments, texts, steps=min(steps, most)))
    return [jax.tree.map(lambda x, at=layer: x[at], spans) for layer in range(len(spans.indices))]


def _from_heads(
    run: Run, terms: Terms, spans: list[TextSpan], pool: Pool, embeddings: np.ndarray, variance: np.ndarray
) -> Question:
    """Without labels and without texts of the user's: the first texts of the heads that vary most."""
    order = np.argsort(-variance, axis=None)
    first = [int(spans[at // variance.shape[1]].indices[at % variance.shape[1], 0]) for at in order]
    chosen = list(dict.fromkeys(text for text in first if text >= 0))[:24]
    chosen = chosen if len(chosen) > 1 else list(range(min(2, len(pool.texts))))
    texts = tuple(pool.texts[text] for text in chosen)
    return nearest_question("texts of the strongest heads", texts, embeddings[chosen], run, terms)


def _heads(
    run: Run,
    terms: Terms,
    spans: list[TextSpan],
    embeddings: np.ndarray,
    questions: Sequence[Question],
    options: ReportOptions,
    progress: Progress,
) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Direct effects on every question, and every head's texts with the images it answers most and least to."""
    n_layers, n_heads = run.config.vision.n_layers, run.config.vision.n_heads
    matrices = np.asarray(run.matrices)
    effects = np.zeros((len(questions), n_layers, n_heads))
    heads: list[list[dict[str, Any]]] = [[] for _ in range(n_layers)]
    for layer in range(n_layers):
        for head in range(n_heads):
            u, matrix = terms.head(layer, head), matrices[layer, head]
            for i, question in enumerate(questions):
                effects[i, layer, head] = _mean_effect(u, question.directions @ matrix.T, question.labels[terms.rows])
            span = jax.tree.map(lambda x, at=head: x[at], spans[layer])
            heads[layer].append(_basis(u, matrix, span, embeddings, terms, options.examples))
            progress("examples of heads", layer * n_heads + head + 1, n_layers * n_heads)
    said = []
    for i, question in enumerate(questions):
        labels = question.labels[terms.rows]
        mlp = [_mean_effect(terms.mlp[:, layer], question.directions, labels) for layer in range(n_layers)]
        said.append(
            {
                "name": question.name,
                "texts": list(question.texts),
                "known": question.known,
                "n": int((labels >= 0).sum()),
                "accuracy": question.accuracy(terms.embedding, terms.rows),
                "heads": shorts(effects[i]),
                "mlp": shorts(mlp),
                "init": short(_mean_effect(terms.init, question.directions, labels)),
            }
        )
    return said, heads


def _mean_effect(values: np.ndarray, directions: np.ndarray, labels: np.ndarray) -> float:
    """Mean over labelled images of a term's inner product with the direction of their own label."""
    there = labels >= 0
    sums = np.zeros(directions.shape)
    np.add.at(sums, labels[there], values[there].astype(np.float64))
    return float((sums * directions).sum() / max(there.sum(), 1))


def _basis(
    u: np.ndarray, matrix: np.ndarray, span: TextSpan, embeddings: np.ndarray, terms: Terms, examples: int
) -> dict[str, Any]:
    gains = np.diff(span.explained, prepend=0)
    basis = []
    for text, gain in zip(span.indices.tolist(), gains, strict=True):
        if text < 0:
            continue
        answers = u @ (matrix @ embeddings[text])
        answers = answers - answers.mean()
        order = np.argsort(-answers, kind="stable")
        n = min(examples, len(order) // 2)
        most, least = order[:n], order[::-1][:n]
        basis.append(
            {
                "text": text,
                "gain": short(gain),
                "most": [(int(terms.rows[i]), short(answers[i])) for i in most],
                "least": [(int(terms.rows[i]), short(answers[i])) for i in least],
            }
        )
    return {"basis": basis}


def _within(heads: list[list[dict[str, Any]]], variance: np.ndarray, most: int) -> list[int]:
    """Rows of images to show, commonest first; examples that the budget does not reach are dropped from `heads`."""
    seen: Counter[int] = Counter()
    for at in np.argsort(-variance, axis=None):
        for entry in heads[at // variance.shape[1]][at % variance.shape[1]]["basis"]:
            for side in ("most", "least"):
                for row, _ in entry[side]:
                    if row in seen or len(seen) < most:
                        seen[row] += 1
                entry[side] = [(row, value) for row, value in entry[side] if row in seen]
    return [row for row, _ in seen.most_common()]


def _pages(common: list[int], readable: Int[np.ndarray, "image"], most: int) -> list[int]:
    """Half of the pages for images that are examples of most heads, half evenly from the data; what is left over, for
    other examples."""
    evenly = spread(readable, most - min(most // 2, len(common))).tolist()
    return sorted(list(dict.fromkeys([*common[: most // 2], *evenly, *common]))[:most])


def _affordable(config: VisionConfig, questions: Sequence[Question]) -> int:
    """How many images' pages fit into `PAGES` bytes: a map's number is a byte in base64, a term's is two, and a picture
    takes a seventh a pixel."""
    n_texts = min(sum(len(question.texts) for question in questions), MOST_TEXTS)
    numbers = n_texts * (2 * config.n_layers * (config.n_heads + 1) + int(np.prod(config.grid)))
    return max(1, int(PAGES / (4 / 3 * numbers + min(PAGE, *config.image_size) ** 2 / 7)))


def _wanted(heads: list[list[dict[str, Any]]]) -> dict[int, list[tuple[int, int, int]]]:
    wanted: dict[int, list[tuple[int, int, int]]] = {}
    for layer, row in enumerate(heads):
        for head, found in enumerate(row):
            for entry in found["basis"]:
                for image, _ in entry["most"]:
                    wanted.setdefault(image, []).append((layer, head, entry["text"]))
    return wanted


def _variance(moments: Any) -> dict[str, Any]:
    heads, mlp, init = (np.asarray(part.variance) for part in (moments.heads, moments.mlp, moments.init))
    total = float(heads.sum() + mlp.sum() + init) or 1.0
    return {"heads": shorts(heads / total), "mlp": shorts(mlp / total), "init": short(init / total)}


def _page(
    found: dict[str, Any], layer: int, head: int, images: dict[int, int], maps: dict[Any, Any], used: dict[int, int],
    about: list[int], n_properties: int,
) -> dict[str, Any]:  # fmt: skip
    shares = np.zeros(n_properties)
    basis = []
    for entry in found["basis"]:
        if about:
            shares[about[entry["text"]]] += entry["gain"] or 0
        most = [
            {"image": images[row], "value": value, "map": maps[row, layer, head, entry["text"]]}
            for row, value in entry["most"]
        ]
        least = [{"image": images[row], "value": value} for row, value in entry["least"]]
        basis.append({"text": used[entry["text"]], "gain": entry["gain"], "most": most, "least": least})
    return {"basis": basis, "shares": shorts(shares)}


def _image(pictures: Pictures, row: int, page: dict[str, Any] | None) -> dict[str, Any]:
    picture = pictures.small(pictures.inputs([row])[0], PAGE if page else THUMBNAIL)
    labels = dict(pictures.labels(row))
    return {"number": row, "name": pictures.run.names[row], "labels": labels, "picture": picture, "page": page}
