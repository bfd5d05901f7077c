"""Weight files of any kind -> tables of named, unread tensors."""

from collections.abc import Mapping
from pathlib import Path

from jaxclip.convert.readers.hub import Repository
from jaxclip.convert.readers.places import Files, Folder, read_json
from jaxclip.convert.readers.safetensors import open_safetensors
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.convert.readers.torch_zip import read_archive, tensors_of_module
from jaxclip.convert.readers.unpickle import Inert
from jaxclip.convert.state_dicts import State, state_dicts
from jaxclip.files.plain import open_plain

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def weight_files(home: Files, names: tuple[str, ...]) -> tuple[Path, ...]:
    """Find the weight files of a folder or repository: by the first of `names` that is there, or the only one there is.

    Raises:
      FileNotFoundError: there is none, or there are several of other names.
    """
    for name in names:
        path = home.find(name)
        if path is not None:
            return shards(path, home) if name.endswith(".index.json") else (path,)
    if isinstance(home, Repository):
        return (home.file(*names),)
    assert isinstance(home, Folder)
    held = sorted(path.name for path in home.path.iterdir() if path.suffix in WEIGHT_SUFFIXES and not path.is_dir())
    found = [path for name in held if (path := home.find(name)) is not None]
    if len(found) == 1:
        return (found[0],)
    others = ", ".join(path.name for path in found[:5]) or "none"
    raise FileNotFoundError(f"{home.name} has no {' or '.join(names)}; other weight files: {others}. Name one file.")


def shards(index: Path, home: Files) -> tuple[Path, ...]:
    """List the files of a sharded checkpoint; the names in its index must be plain names in the same place.

    Raises:
      CheckpointError: the index is none, or points elsewhere.
      FileNotFoundError: a file is missing.
    """
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise CheckpointError(f"{index.name} has no weight_map; download it again.")
    paths = []
    for name in sorted({str(name) for name in table.values()}):
        if Path(name).name != name or Path(name).suffix not in WEIGHT_SUFFIXES:
            raise CheckpointError(f"{index.name} points at {name[:100]!r}, which is not a weight file beside it.")
        path = home.find(name)
        if path is None:
            raise FileNotFoundError(f"{home.name} lacks {name}, which {index.name} names; download it.")
        paths.append(path)
    return tuple(paths)


def open_weights(path: Path) -> tuple[dict[str, State], bool]:
    """Open one weight file: tables of named tensors by the keys that lead to them, and whether it is TorchScript's.

    What kind of file it is follows from its content.
    """
    with open_plain(path) as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path.name} is only a Git LFS pointer; fetch the weights with `git lfs pull`.")
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return {"": open_safetensors(path)}, False
    held, scripted = read_archive(path)
    if scripted:
        return {"": tensors_of_module(held) if isinstance(held, Mapping) else {}}, True
    if isinstance(held, Inert):
        raise CheckpointError(
            f"{path.name} holds a whole object of {held.name}, and its code may be anything; if you trust it, save its "
            f"weights: torch.save(torch.load({path.name!r}, weights_only=False).state_dict(), 'weights.pt')."
        )
    tables = state_dicts(held)
    if not tables:
        raise CheckpointError(f"{path.name} holds no state dict; save one with torch.save(model.state_dict(), path).")
    return tables, False
