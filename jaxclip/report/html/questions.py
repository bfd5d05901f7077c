"""What a report asks of a run's images: every head's terms, and which texts an image is compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxclip.analyses.smells import prediction_smells
from jaxclip.clip import Clip
from jaxclip.model.head_coordinates import head_state
from jaxclip.model.nonfinite import check_images, check_texts
from jaxclip.report.html.packing import Pictures, spread
from jaxclip.runs.folder import BANK
from jaxclip.runs.run import Run
from jaxclip.runs.task import has_words, run_classes

BATCH = 8
TEXTS = 64
"""Encoded together; fewer are padded, so that the text tower is compiled once."""
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Terms:
    """Terms of the images that a report ranks, in the run's units.

    Attributes:
      rows: numbers of those images.
      head: layer and head -> u of every image, see `jaxclip.model.head_coordinates`.
    """

    rows: Int[np.ndarray, "image"]
    embedding: Float[np.ndarray, "image embed"]
    init: Float[np.ndarray, "image embed"]
    mlp: Float[np.ndarray, "image layer embed"]
    head: Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Question:
    """Texts that exclude each other, and for every image the one that is meant.

    Attributes:
      name: of what they ask about.
      texts: as shown.
      classes: their unit embeddings.
      labels: of all images of the data by number, an index into the texts, -1 where none is meant.
      known: whether labels came with the data; otherwise they are each image's nearest text.
    """

    name: str
    texts: tuple[str, ...]
    classes: Float[np.ndarray, "text embed"]
    labels: Int[np.ndarray, "image"]
    known: bool

    @property
    def directions(self) -> Float[np.ndarray, "text embed"]:
        """Each text minus the mean of all: what only it gets."""
        return self.classes - self.classes.mean(0)

    def accuracy(self, embedding: Float[np.ndarray, "image embed"], rows: Int[np.ndarray, "image"]) -> float | None:
        """Of the nearest text, over those of these images that have a label; None where labels are not known."""
        there = self.labels[rows] >= 0
        if not (self.known and there.any()):
            return None
        return float(((embedding[there] @ self.classes.T).argmax(-1) == self.labels[rows][there]).mean())


def run_terms(run: Run, clip: Clip, pictures: Pictures, most: int) -> Terms:
    """Of at most `most` images, evenly from the run: out of its bank, or else by the model, `most` / 16 of them."""
    if not (run.folder / BANK).is_dir():
        return _from_model(run, clip, pictures, spread(run.rows, max(64, most // 16)))
    rows, bank = spread(run.rows, most), run.bank
    held = {name: bank.read(name, rows) for name in ("embedding", "init", "mlp")}
    return Terms(rows, **held, head=lambda layer, head: bank.head(layer, head)[rows])


class State(NamedTuple):
    """A batch of images in the run's units, on the host: what NumPy adds up is not compiled for every shape."""

    embedding: np.ndarray
    init: np.ndarray
    mlp: np.ndarray
    heads: np.ndarray
    scale: np.ndarray
    """What raw terms are multiplied by for these units, one number an image."""


def states(run: Run, clip: Clip, images: Float[np.ndarray, "batch height width channel"]) -> State:
    """Images' terms from the model."""
    state = head_state(clip.vision, images)
    check_images(state.embedding, clip.vision, images)
    parts = [np.asarray(part) for part in (state.embedding, state.init, state.mlp, state.heads)]
    norms = np.linalg.norm(parts[0], axis=-1)
    scale = 1 / norms if run.units == "normalized" else np.ones_like(norms)
    embedding, init, mlp, heads = (part * scale.reshape(-1, *(1,) * (part.ndim - 1)) for part in parts)
    return State(embedding, init, mlp, heads, scale)


def padded(rows: Sequence[int], size: int = BATCH) -> list[int]:
    """Rows of a batch that is always of one size, so that a model is compiled once."""
    return [*rows, *[rows[-1]] * (size - len(rows))]


def _from_model(run: Run, clip: Clip, pictures: Pictures, rows: Int[np.ndarray, "image"]) -> Terms:
    parts = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH].tolist()
        parts.append([part[: len(some)] for part in states(run, clip, pictures.inputs(padded(some)))])
    state = State(*map(np.concatenate, zip(*parts, strict=True)))
    return Terms(rows, state.embedding, state.init, state.mlp, lambda layer, head: state.heads[:, layer, head])


def run_questions(run: Run, clip: Clip, terms: Terms, texts: Sequence[str]) -> list[Question]:
    """The user's texts, then every kind of label whose names are words.

    Raises:
      ValueError: one text alone, which there is nothing to compare with.
    """
    found = []
    if texts:
        if len(texts) < 2:
            raise ValueError("--texts are compared with each other; pass two or more.")
        classes = embed(clip, [[text] for text in texts])
        found.append(nearest_question("your texts", tuple(texts), classes, run, terms))
    for kind, names in run.label_names.items():
        words = 2 <= len(names) <= MOST_CLASSES and not all(name.isdigit() for name in names) and has_words(names)
        if clip.text is None or not words or not len(run.labelled(kind)) or _unasked(run, kind):
            continue
        task = run_classes(run, kind)
        classes = embed(clip, task.prompts)
        found.append(Question(kind, tuple(task.names), classes, task.labels, True))
    return found


def question_smells(questions: Sequence[Question], terms: Terms) -> list[str]:
    """What smells about the nearest texts of images whose labels are known."""
    said = []
    for question in questions:
        labels = question.labels[terms.rows]
        there = labels >= 0
        if question.known and there.any():
            nearest = (terms.embedding[there] @ question.classes.T).argmax(-1)
            said += prediction_smells(question.name, question.texts, nearest, labels[there])
    return said


def nearest_question(
    name: str, texts: tuple[str, ...], classes: Float[np.ndarray, "text embed"], run: Run, terms: Terms
) -> Question:
    """A question without an answer key: each ranked image's nearest text stands for it."""
    labels = np.full(len(run.names), -1, np.int32)
    labels[terms.rows] = (terms.embedding @ (classes - classes.mean(0)).T).argmax(-1)
    return Question(name, texts, classes, labels, False)


def embed(clip: Clip, prompts: Sequence[Sequence[str]]) -> Float[np.ndarray, "text embed"]:
    """One direction of unit norm a class, as `jaxclip.zeroshot.class_embeddings`, in batches of one size."""
    texts = [prompt for some in prompts for prompt in some]
    tokens = clip.tokenize(texts)
    n = len(tokens)
    tokens = np.concatenate([tokens, np.repeat(tokens[-1:], -n % TEXTS, axis=0)])
    parts = [clip.encode_text(tokens[i : i + TEXTS], normalize=True) for i in range(0, len(tokens), TEXTS)]
    embeddings = np.concatenate([np.asarray(part) for part in parts])[:n]
    check_texts(embeddings, clip.text, tokens[:n], texts)
    ends = np.cumsum([len(some) for some in prompts])[:-1]
    means = np.stack([part.mean(0) for part in np.split(embeddings, ends)])
    return means / np.linalg.norm(means, axis=-1, keepdims=True)


def _unasked(run: Run, kind: str) -> bool:
    """Of the scenes, factors without prompts (a relation, a bird with its background) are no question."""
    from jaxclip.data.scenes.captioning import PROMPTS

    return run.info["data"]["kind"] == "scenes" and kind not in PROMPTS
