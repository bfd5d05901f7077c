"""What images of a run are classified into: the names of classes, their prompts, and every image's label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxclip.data.class_files import match_classes
from jaxclip.data.class_names import WORDNET_NAME, class_words, readable, template_kinds
from jaxclip.data.class_names import templates as shipped
from jaxclip.data.source import UNLABELLED, kinds_there
from jaxclip.data.text_pools import read_lines
from jaxclip.runs.run import Run
from jaxclip.zeroshot import fill_templates


@dataclass(frozen=True)
class Classes:
    """A classification task on a run's images.

    Attributes:
      kind: of label.
      names: of the classes, in the order of the labels.
      prompts: for every class, the texts it is described by.
      labels: of every image of the data by its number, as places in `names`; -1 where it has none or could not be read.
      told: how a file of classes was matched with the labels, in a sentence; empty without one.
    """

    kind: str
    names: tuple[str, ...]
    prompts: list[list[str]]
    labels: Int[np.ndarray, "image"]
    told: str = ""

    @property
    def rows(self) -> Int[np.ndarray, "labelled"]:
        """Numbers of the images that have a label."""
        return np.flatnonzero(self.labels >= 0)


def run_classes(
    run: Run, kind: str = "label", classes: Path | None = None, templates: str | Path | None = None
) -> Classes:
    """The classes of one kind of label of a run.

    Args:
      run: with labels.
      kind: of label; of the scenes, a factor.
      classes: a file of one class a line, matched as `jaxclip.data.class_files.match_classes` does. Default: the
        label's own names, put in words as `jaxclip.data.class_names.readable` does; a factor of the scenes has prompts
        of its own.
      templates: a file of one prompt a line with {} where the class goes, or {a} where it goes with its article; or
        the name of a shipped list, such as "general". Default: "a photo of {a}."

    Raises:
      FileNotFoundError: no such file.
      ValueError: the run has no such label, no image of it is labelled, it has one class alone, classes are not as
        many as labels, empty or twice the same, WordNet ids have no words, or a template has no {}.
    """
    if kind not in run.label_names:
        raise ValueError(f"{run.folder} has no label {kind!r}; it has {kinds_there(run.label_names)}.")
    names, labels = run.label_names[kind], np.full(len(run.names), UNLABELLED, np.int32)
    rows = run.labelled(kind)
    labels[rows] = run.labels[kind][rows]
    if not len(rows):
        raise ValueError(f"no image of {run.folder} has a {kind}, so there is nothing to classify.")
    if prompts := _scenes_prompts(run, kind, classes, templates):
        return Classes(kind, names, prompts, labels)
    told = ""
    if classes is not None:
        names, places, told = match_classes(classes, kind, names, labels)
        labels = np.where(labels >= 0, places[labels], -1).astype(np.int32)
    if len(names) < 2:
        raise ValueError(
            f"{kind} of {run.folder} has one class alone, {''.join(names)}, and every image would be right; pass a "
            f"file of more classes as --classes (in Python classes=), with this name among them."
        )
    words = _words(run, names) if classes is None else names
    return Classes(kind, names, fill_templates(words, read_templates(templates)), labels, told)


def has_words(names: Sequence[str]) -> bool:
    """Whether all names can be put in words; a WordNet id that ImageNet has not cannot."""
    return not any(WORDNET_NAME.fullmatch(word) for word in readable(names))


def read_templates(source: str | Path | None) -> list[str]:
    """Templates from a file or a shipped list by its name; None is "a photo of {a}." alone.

    Raises:
      FileNotFoundError: there is neither.
    """
    if source is None or (str(source) in template_kinds() and not Path(source).exists()):
        return list(shipped("single" if source is None else str(source)))
    return [line for line in read_lines(source) if line]


def _words(run: Run, names: tuple[str, ...]) -> tuple[str, ...]:
    """Words for a label's names: those of the data set where it is a known one, else by rule."""
    kinds = {"cifar": ("cifar10", "cifar100", "cifar100_coarse"), "waterbirds": ("waterbirds", "waterbirds_place")}
    known = [data for data in kinds.get(run.info["data"]["kind"], ()) if set(names) <= class_words(data).keys()]
    words = readable(names, known[0] if known else None)
    if unknown := [word for word in words if WORDNET_NAME.fullmatch(word)]:
        raise ValueError(
            f"there are no words for {len(unknown)} of {len(words)} WordNet ids, the first is {unknown[0]}; pass a "
            f"file of one class a line as --classes (in Python classes=)."
        )
    return words


def _scenes_prompts(run: Run, kind: str, classes: Path | None, templates: str | Path | None) -> list[list[str]]:
    from jaxclip.data.scenes.captioning import PROMPTS, prompts

    asked = run.info["data"]["kind"] == "scenes" and classes is None and templates is None
    return prompts(kind) if asked and kind in PROMPTS else []
