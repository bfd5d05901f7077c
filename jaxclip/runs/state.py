"""The state that a pass saves: how far it is, and the moments of all components so far."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED

import numpy as np

from jaxclip.config import ClipConfig
from jaxclip.files.plain import is_there, open_plain
from jaxclip.files.strict_json import parse_object
from jaxclip.runs.component_moments import Collected, from_arrays
from jaxclip.runs.folder import RUN, STATE, check_unchanged
from jaxclip.runs.goes_on import changes_of

ALL = "all"
"""The moments of every image, beside those by kind of label."""


@dataclass(frozen=True)
class State:
    """How far a pass is: batches that are kept, what they take in the list of images, and their moments.

    `checksums` are SHA-256 of every file of the run but this state, whose parts have their own, and the blocks of a
    bank, which have theirs; that of the list of images is of its first `n_bytes`. `changes` are what differed when the
    pass went on with `accept` (see `jaxclip.runs.goes_on`), each with the number of batches before it.
    """

    n_batches: int
    n_bytes: int
    moments: dict[str, Collected]
    checksums: dict[str, str]
    changes: list[dict[str, Any]] = field(default_factory=list)


def read_state(folder: Path, info: dict[str, Any]) -> State:
    """Read the last saved state, or make that of a run that has just begun.

    Raises:
      ValueError: the file is damaged, or run.json is not the one it was saved beside.
    """
    if not is_there(folder / STATE):
        return State(0, 0, _empty(info), {})
    try:
        with open_plain(folder / STATE) as file, np.load(file) as held:
            if any(part.compress_type != ZIP_STORED for part in held.zip.infolist()):  # could be any number of bytes
                raise ValueError("it is compressed")
            if part := held.zip.testzip():
                raise ValueError(f"the checksum of its part {part} is not that of what was written")
            arrays = dict(held)
        said = parse_object(arrays["checksums"].tobytes())
        counts = int(arrays["n_batches"]), int(arrays["n_bytes"])
        changes = changes_of(arrays)
        checksum_of_run = said[RUN]
    except Exception as error:  # a damaged archive can raise nearly anything
        raise ValueError(f"{folder / STATE} is damaged ({error}); delete {folder} and run it again.") from error
    # Before anything is made of what run.json says.
    check_unchanged(folder, {RUN: checksum_of_run})
    try:
        moments = from_arrays(lambda: _empty(info), arrays)
    except (ValueError, TypeError, OverflowError) as error:  # sizes that no array can have are the latter two
        raise ValueError(f"{folder / STATE} is not of the run that {RUN} describes ({error}).") from error
    return State(*counts, moments, said, changes)


def by_key(kind: str) -> str:
    """Name the moments by a kind of label among a run's moments."""
    return f"by/{kind}"


def _empty(info: dict[str, Any]) -> dict[str, Collected]:
    if not info["options"]["moments"]:
        return {}
    config = ClipConfig.from_dict(info["model"]["config"]).vision
    names = info["data"]["label_names"]
    apart = {by_key(kind): Collected.zero(config, len(names[kind])) for kind in info["options"]["by"]}
    return {ALL: Collected.zero(config)} | apart
