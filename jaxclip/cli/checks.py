"""What commands share: where "scenes" is, where words and results go."""

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxclip.files.printable import printable
from jaxclip.files.whole import check_free_place, no_folder, write_results


class Failed(Exception):
    """A command that ran to its end and found something wrong; `result` is still worth printing."""

    def __init__(self, message: str, result: dict[str, Any], status: int = 1):
        super().__init__(message)
        self.result, self.status = result, status


def resolve(source: str) -> str:
    """ "scenes" is the shipped checkpoint, unless something of that name lies here."""
    if source == "scenes" and not Path(source).exists():
        from jaxclip.data.scenes import CHECKPOINT

        return str(CHECKPOINT)
    return source


def pictures(paths: Sequence[Path], out: Path) -> tuple[Path, ...]:
    """Picture files that are there; "scenes/7" is the seventh held-out scene, drawn into `out`.

    Raises:
      FileNotFoundError: one is not there.
    """
    from jaxclip.files.plain import refuse_special

    for path in paths:
        refuse_special(path)
    for path in (path for path in paths if path.is_file()):
        check_picture(path)
    drawn = {path: re.fullmatch(r"scenes/(\d+)", path.as_posix()) for path in paths if not path.is_file()}
    if lost := [path for path, found in drawn.items() if found is None]:
        raise FileNotFoundError(f"{lost[0]}: there is no such picture; name a file, or scenes/0 for one that is drawn.")
    return tuple(path if path not in drawn else _draw(int(path.name), out) for path in paths)


def check_picture(path: Path) -> None:
    """Before a model loads; what its header does not tell is found when its pixels are read.

    Raises:
      ValueError: it is no image.
    """
    from jaxclip.files.images import explained, open_image

    with explained(path), open_image(path):
        pass


def _draw(index: int, out: Path) -> Path:
    from PIL import Image

    from jaxclip.data.masks.mask_files import save_png
    from jaxclip.data.scenes import scene

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"scene_{index}.png"
    return save_png(Image.fromarray(scene(0, "test", index)["image"]), path)


def check_folder(out: Path) -> None:
    """A place for a folder.

    Raises:
      NotADirectoryError: a file, a pipe, a device or a link to nowhere is in the way.
      PermissionError: nothing can be written there.
      ValueError: its results.json is a link, a pipe or a device.
    """
    for part in (out, *out.parents):
        if what := no_folder(part):
            raise NotADirectoryError(f"{part} is {what}; --out needs a folder, or the name of a new one.")
    there = next(part for part in (out, *out.parents) if part.is_dir())
    try:
        tempfile.TemporaryFile(dir=there).close()  # what permissions say is not all: the disk may be read-only
    except OSError as error:
        raise PermissionError(f"nothing can be written in {there} ({error.strerror}); name another --out.") from error
    check_free_place(out / "results.json")


def check_file(out: Path | None) -> None:
    """A place for a file.

    Raises:
      IsADirectoryError: a folder is in the way.
      NotADirectoryError, PermissionError: its folder cannot be made, or nothing can be written there.
      ValueError: it is a link, a pipe or a device.
    """
    if out is not None and out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; --out needs a file, such as {out / 'result.json'}.")
    if out is not None:
        check_folder(out.parent)
        check_free_place(out)


def check_texts(texts: Sequence[str]) -> None:
    """Texts that say something, and not the same.

    Raises:
      ValueError: one is blank, or stands there twice.
    """
    if blank := [place for place, text in enumerate(texts, 1) if not text.strip()]:
        raise ValueError(f"text {blank[0]} of {len(texts)} is blank; quote words, or leave it out.")
    if again := [text for text in texts if texts.count(text) > 1]:
        raise ValueError(f"every text must be given once; got {again[0]!r} {texts.count(again[0])} times.")


def check_heads(names: Sequence[str]) -> None:
    """Check heads as they are written, before a model says how many it has.

    Raises:
      ValueError: a name that is neither layer.head nor layer.
    """
    from jaxclip.model.head_names import parse_name

    for name in names:
        parse_name(name)


def check_least(**counts: int | None) -> None:
    """Counts of at least one, by name; None is left out.

    Raises:
      ValueError: there is a smaller one.
    """
    if wrong := {name: count for name, count in counts.items() if count is not None and count < 1}:
        name, count = next(iter(wrong.items()))
        raise ValueError(f"--{name.replace('_', '-')} must be at least 1; got {count}.")


def say(text: str) -> None:
    """For people, in one line that a terminal shows as it is; standard output is kept for results."""
    print(printable(text), file=sys.stderr, flush=True)


def write_json(path: Path, result: dict[str, Any]) -> None:
    """What a command found."""
    write_results(path, result)
