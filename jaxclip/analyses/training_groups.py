"""How many images of each group a training split has: what the literature weighs the accuracies of groups by.

Test splits are often evened out (that of Waterbirds is), so the plain mean over their images is another number.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxclip.files.plain import is_there
from jaxclip.runs.run import Run, find_run, open_run


@dataclass(frozen=True)
class TrainingGroups:
    """Images of each group in a training split.

    Attributes:
      n_images: by the group's name, in the order of the run's groups; not all are 0.
      source: where they are from, in words.
    """

    n_images: Mapping[str, int]
    source: str

    def __post_init__(self) -> None:
        if not sum(self.n_images.values()):
            raise ValueError(
                f"the training groups of {self.source} have no images; give numbers of which one is not 0."
            )


def training_groups(run: Run, kind: str, given: str | None = None) -> TrainingGroups | None:
    """Those of the training split that a run's data belong to, None where nobody says.

    Args:
      run: of which run.json is enough.
      kind: of label that says the group.
      given: a run over the training split, or numbers such as "duck_on_land=300,duck_on_water=1200". By default they
        are read from the data where its own files say which images are for training, as those of Waterbirds do.

    Raises:
      ValueError, FileNotFoundError: it is neither, or of other groups.
    """
    names = run.label_names.get(kind, ())
    if given is None:
        return _of_data(run, kind, names)
    if is_there(Path(given) / "run.json"):
        return _of_run(Path(given), kind, names)
    return _of_numbers(given, names)


def _of_run(folder: Path, kind: str, names: tuple[str, ...]) -> TrainingGroups:
    there = find_run(folder).label_names
    if there.get(kind) != names:
        raise ValueError(
            f"{folder} must have the groups {', '.join(names)}; its {kind} has {_listed(there.get(kind))}."
        )
    counts = Counter(open_run(folder).labels[kind].tolist())
    return TrainingGroups({name: counts[place] for place, name in enumerate(names)}, str(folder))


def _of_numbers(given: str, names: tuple[str, ...]) -> TrainingGroups:
    found = [re.fullmatch(r"\s*(.+?)\s*=\s*(\d+)\s*", part, re.ASCII) for part in given.split(",")]
    numbers = {match[1]: int(match[2]) for match in found if match}
    if len(numbers) != len(found) or set(numbers) != set(names):
        example = ",".join(
            f"{name}={n}" for name, n in zip(names, (3498, 184, 56, 1057, *[100] * len(names)), strict=False)
        )
        raise ValueError(
            f"--training-groups takes a run over the training split, or a number of images for each of the groups "
            f"{', '.join(names)}, such as {example}; got {given!r}."
        )
    return TrainingGroups({name: numbers[name] for name in names}, "as given")


def _of_data(run: Run, kind: str, names: tuple[str, ...]) -> TrainingGroups | None:
    from jaxclip.data.open_data import open_data

    held = run.info["data"]
    if held["kind"] != "waterbirds":
        return None
    try:
        source = open_data(held["source"], kind="waterbirds", split="train")
    except (ValueError, OSError):  # it lies elsewhere now, or has no training split
        return None
    if tuple(source.label_names.get(kind, ())) != names:
        return None
    counts = Counter(source[row].labels[kind] for row in range(len(source)))  # no picture is read
    return TrainingGroups({name: counts[place] for place, name in enumerate(names)}, "metadata.csv")


def _listed(names: tuple[str, ...] | None) -> str:
    return ", ".join(names or ()) or "none"
