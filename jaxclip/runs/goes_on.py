"""Whether a pass that is there may go on here: with the code, on the machine and over the files that it began with.

What differs can be accepted; the state that is saved next then says so, for the numbers may differ in their last bits.
"""

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxclip.data.stamps import ALL_BUT_CONTENTS, Listing
from jaxclip.files.checksums import changed
from jaxclip.files.differences import differences
from jaxclip.files.plain import open_plain, read_bytes
from jaxclip.files.strict_json import parse_json
from jaxclip.numerics.arrays import counted
from jaxclip.runs.order import Order

Accepted = Literal["code", "machine", "files"]
"""What a pass may go on with although it differs: jaxclip's code, the processor or driver, inodes of files."""

STAMPS = "stamps.npy"

MOST_NAMED = 100
"""Files whose names a record of changes holds."""

REMEDIES = {
    "code": "install the jaxclip that it began with",
    "machine": "go on where it began",
}


def check_program(
    folder: Path, info: Mapping[str, Any], now: Mapping[str, Any], accept: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Compare the code and the machine with those that a pass last went on with; a finished run is not affected.

    Args:
      folder: of the run.
      info: its run.json.
      now: `jaxclip.runs.program.program`.
      accept: parts that may differ.

    Returns:
      What was accepted before and now, as the state is to record it.

    Raises:
      ValueError: something differs that is not accepted.
    """
    n_done, changes = _progress(folder / "state.npz")
    if n_done >= Order.of_info(dict(info)).n_steps:
        return changes
    for part, remedy in REMEDIES.items():
        held = next((change[part] for change in reversed(changes) if part in change), info.get(part))
        if held == now[part]:
            continue
        if part not in accept:
            found = "; ".join(sorted(differences(held, now[part], part)))
            raise ValueError(
                f"{folder} began with another {part}, so its numbers may differ from here on: {found}. To keep the "
                f"same bits, {remedy}; to go on all the same, pass accept=({part!r},), and the run will say so."
            )
        changes = [*changes, {"n_batches": n_done, part: now[part]}]
    return changes


def check_files(
    folder: Path, info: Mapping[str, Any], listing: Listing, accept: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Compare the data's files with what they were when a pass began.

    Returns:
      What was accepted, as the state is to record it.

    Raises:
      ValueError: one was replaced, by name; or the list of what they were is damaged.
    """
    n_done, _ = _progress(folder / "state.npz")
    if n_done >= Order.of_info(dict(info)).n_steps:
        return []
    if "files" in accept:
        others = changed_files(folder, info, replace(listing, columns=slice(ALL_BUT_CONTENTS)))
        named = _named([listing.stored.path(number) for number in others])
        return [{"n_batches": n_done, "files": named}] if others else []
    if found := changed_files(folder, info, listing):
        path = listing.stored.path(found[0])
        raise ValueError(
            f"{counted(len(found), 'file')} of the data changed since {folder} began, though not in size or time; the "
            f"first is {path}. Put back what was there or begin a new run; if it is a copy of the same, pass "
            f"accept=('files',)."
        )
    return []


def changed_files(folder: Path, info: Mapping[str, Any], listing: Listing) -> list[int]:
    """Numbers of the files that a pass began with and that are others now.

    Raises:
      ValueError: the list of what they were is damaged.
    """
    if next(changed(folder, {STAMPS: info["data"].get("stamps", "")}), None):
        raise ValueError(f"{folder / STAMPS} is damaged or missing; delete {folder} and run it again.")
    return listing.changed(np.load(io.BytesIO(read_bytes(folder / STAMPS))))


def changed_after(n_batches: int, files: Sequence[Path]) -> dict[str, Any]:
    """Files that changed after a pass had read them, as the state is to record it."""
    return {"n_batches": n_batches, "files_after_reading": _named(files)}


def _named(files: Sequence[Path]) -> dict[str, Any]:
    return {"n": len(files), "first": [str(path) for path in files[:MOST_NAMED]]}


def as_file(listing: Listing) -> bytes:
    """Stamps as they are kept while a pass goes on."""
    whole = io.BytesIO()
    np.save(whole, listing.stamps)
    return whole.getvalue()


def changes_of(arrays: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was accepted, as a saved state says it; it may be one from before there was such a thing.

    Raises:
      ValueError: it says something else.
    """
    said = parse_json(arrays["changes"].tobytes()) if "changes" in arrays else []
    if not isinstance(said, list) or not all(isinstance(change, dict) for change in said):
        raise ValueError("its changes are no list of what was accepted")
    return said


def _progress(path: Path) -> tuple[int, list[dict[str, Any]]]:
    """Steps that a saved state counts, and what was accepted; a damaged one is found when it is read whole."""
    try:
        with open_plain(path) as file, np.load(file) as held:
            return int(held["n_batches"]), changes_of(held)
    except Exception:  # no state, or a damaged archive, which can raise nearly anything
        return 0, []
