"""What the files beside a checkpoint's weights say it is, and which of two descriptions counts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxclip.convert.families import check_unclaimed
from jaxclip.convert.formats import writer_of, writers
from jaxclip.convert.formats.format import Claim, Description, Format, Towers, differences
from jaxclip.convert.readers.places import Files, Folder, read_json
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.files.plain import read_bytes
from jaxclip.files.strict_json import parse_json

MOST_MODULES = 2**20  # bytes


def described_in(home: Files) -> tuple[Description, ...]:
    """Read the descriptions of a CLIP in a folder or repository, one for each library.

    A folder may hold both, and then its weights say which counts; of a repository OpenCLIP's counts, as its weights do.
    """
    found: list[Description] = []
    for file in dict.fromkeys(writer.file for writer in writers()):
        if found and not isinstance(home, Folder):
            break
        path = home.find(file)
        if path is None:
            continue
        fields = read_json(path)
        writer = writer_of(file, fields)
        if writer is not None:
            found.append(Description(writer, fields))
        elif not found:
            check_unclaimed(fields)
    return tuple(found)


def check_no_wrapper(home: Files) -> None:
    """Refuse the folder of a library that keeps a CLIP in a folder of its own within.

    Raises:
      CheckpointError: it is one, with the folder that is meant.
    """
    for name, read in (("modules.json", _sentence_transformers), ("model_index.json", _diffusers)):
        path = home.find(name)
        if path is not None and (sentence := read(path, home)) is not None:
            raise CheckpointError(sentence)


def _sentence_transformers(path: Path, home: Files) -> str | None:
    try:
        modules = parse_json(read_bytes(path, MOST_MODULES))
    except (ValueError, OSError):
        return None
    modules = [module for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    inner = [str(module.get("path")) for module in modules if str(module.get("type")).endswith("CLIPModel")]
    if not inner or inner[0] in ("", "."):
        return None
    if isinstance(home, Folder):
        return f"{home.name} is a sentence-transformers folder; its CLIP is in it: pass {home.path / inner[0][:80]}."
    return (
        f"{home.name} is a sentence-transformers repository; its CLIP is in a folder of it: "
        f"`hf download {home.name} --local-dir FOLDER`, and pass FOLDER/{inner[0][:80]}."
    )


def _diffusers(_path: Path, home: Files) -> str:
    return (
        f"{home.name} holds a pipeline of diffusers, whose parts are single towers and no whole CLIP; convert the CLIP "
        f"that they come from."
    )


def choose(described: Sequence[Description], form: Format, home: Files | None) -> dict[str, Any]:
    """Make the fields of a `Source`: of two descriptions that of its weights' library counts, the other is aside."""
    own = [description for description in described if description.writer is form.writer]
    counts = next(iter((*own, *described)), None)
    if counts is None:
        return {}
    aside = next((description for description in described if description is not counts), None)
    return {"description": replace(counts, images=counts.writer.images(counts.fields, home)), "aside": aside}


def description_claim(used: Description, towers: Towers, form: Format, aside: Description | None) -> Claim[str] | None:
    """Say which description was used, where another is beside it or it is not its weights' own; None elsewhere."""
    if aside is not None:
        differs = _differs(towers, aside)
        words = f"its weights have {used.writer.name}'s names; {aside.writer.file} beside them is not used"
        return Claim(used.writer.file, "files", f"{words} and says {differs}" if differs else words)
    if is_own(used, form):
        return None
    words = f"its weights have {form.writer.name}'s names, but no {form.writer.file} is beside them"
    return Claim(used.writer.file, "files", words)


def is_own(used: Description, form: Format) -> bool:
    """Tell whether a description is what weights of a format come with; those that need none may have any."""
    return used.writer is form.writer or form.towers is not None


def _differs(used: Towers, aside: Description) -> str:
    try:
        other = aside.towers()
    except ValueError:
        return "that it is another kind of model"
    return "; ".join(f"{where} {theirs}, not {own}" for where, own, theirs in differences(used, other))
