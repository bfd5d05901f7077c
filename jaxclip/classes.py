"""What images of a run are classified into: the names of classes, their prompts, and every image's label."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxclip.pools import read_lines
from jaxclip.runs import Run
from jaxclip.zeroshot import fill_templates

TEMPLATE = "a photo of a {}."


@dataclass(frozen=True)
class Classes:
    """A classification task on a run's images.

    Attributes:
      kind: of label.
      names: of the classes, in the order of the labels.
      prompts: for every class, the texts it is described by.
      labels: of every image of the run, -1 where it has none.
    """

    kind: str
    names: tuple[str, ...]
    prompts: list[list[str]]
    labels: Int[np.ndarray, "image"]

    @property
    def rows(self) -> Int[np.ndarray, "labelled"]:
        """The images that have a label."""
        return np.flatnonzero(self.labels >= 0)


def run_classes(run: Run, kind: str = "label", classes: Path | None = None, templates: Path | None = None) -> Classes:
    """The classes of one kind of label of a run.

    Args:
      run: with labels.
      kind: of label; of the scenes, a factor.
      classes: a file of one class a line, in the order of the labels. Default: the label's own names, _ read as a
        space; a factor of the scenes has prompts of its own.
      templates: a file of one prompt a line with {} where the class goes. Default: "a photo of a {}."

    Raises:
      FileNotFoundError: no such file.
      ValueError: the run has no such label, no image of it is labelled, classes are too few, empty or twice the same,
        or a template has no {}.
    """
    if kind not in run.label_names:
        there = ", ".join(run.label_names) or "none"
        raise ValueError(f"{run.folder} has no label {kind!r}; it has {there}.")
    names, labels = run.label_names[kind], run.labels[kind]
    if not (labels >= 0).any():
        raise ValueError(f"no image of {run.folder} has a {kind}, so there is nothing to classify.")
    if prompts := _scenes_prompts(run, kind, classes, templates):
        return Classes(kind, names, prompts, labels)
    if classes is not None:
        names = _read(classes)
        if len(names) <= labels.max():
            raise ValueError(f"{classes} has {len(names)} classes, but {kind} goes up to {labels.max()}, from 0.")
    ways = [TEMPLATE] if templates is None else list(filter(None, read_lines(templates)))
    return Classes(kind, names, fill_templates([name.replace("_", " ") for name in names], ways), labels)


def _scenes_prompts(run: Run, kind: str, classes: Path | None, templates: Path | None) -> list[list[str]]:
    from jaxclip.data.scenes_captions import PROMPTS, prompts

    asked = run.info["data"]["kind"] == "scenes" and classes is None and templates is None
    return prompts(kind) if asked and kind in PROMPTS else []


def _read(path: Path) -> tuple[str, ...]:
    names = tuple(read_lines(path))
    if not names or "" in names:
        where = f"line {names.index('') + 1} is empty" if names else "it is empty"
        raise ValueError(f"{path} must have one class on every line, in the order of the labels; {where}.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} has {twice[0]!r} more than once; every class needs a name of its own.")
    return names
