"""Any checkpoint -> named, unread tensors and whatever its own files say about it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxclip.convert.descriptions import check_network, check_no_wrapper, choose, described_in, towers_of
from jaxclip.convert.readers.hub import Repository, parse_repository
from jaxclip.convert.readers.places import HF_CONFIG, OPENCLIP_CONFIG, Files, Folder, check_no_adapter, read_json
from jaxclip.convert.readers.safetensors import open_safetensors
from jaxclip.convert.readers.tensors import CheckpointError, LazyTensor
from jaxclip.convert.readers.torch_zip import read_archive, tensors_of_module
from jaxclip.convert.readers.unpickle import Inert
from jaxclip.convert.registry import (
    MISLABELLED,
    Tag,
    check_other,
    check_spelling,
    find_tag,
    meant,
    model_names,
    tags,
)
from jaxclip.convert.rules import Layout, detect_layout
from jaxclip.convert.state_dicts import State, clip_weights, state_dicts
from jaxclip.files.atomic import where_left
from jaxclip.files.plain import expanded, is_there, open_plain

OPENCLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
HF_WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"
)  # fmt: skip
HF_VARIANT = re.compile(r"(pytorch_)?model\.\w+\.(safetensors|bin)")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Source:
    """A checkpoint whose tensors are unread.

    `label` is what the user asked for. `files` are the weight files, `home` is where its configuration and tokenizer
    may lie, `place` the keys and the prefix that lead to the CLIP in its files. The three JSON objects are None where
    there is no such file; `aside` is the other layout's description, where there is one that the weights do not follow.
    `tag` is set when the name was a tag's.
    """

    label: str
    tensors: dict[str, LazyTensor]
    layout: Layout
    files: tuple[Path, ...]
    home: Files | None
    place: str = ""
    tag: Tag | None = None
    openclip: dict[str, Any] | None = None
    huggingface: dict[str, Any] | None = None
    preprocessor: dict[str, Any] | None = None
    aside: dict[str, Any] | None = None


Check = Callable[[Source], object]


def unchecked(_source: Source) -> None:
    """Look at nothing before the weights."""


def open_source(
    source: str | Path, key: str | None = None, *, offline: bool = False, before: Check = unchecked
) -> Source:
    """Open a checkpoint: an existing path first, then "scenes" (which comes with jaxclip), then what `named` finds.

    Args:
      source: path or name.
      key: where in its files the CLIP is, as in `states.clip_weights`.
      offline: of the hub only what its cache holds; for names that stand in a file and were not typed by anybody.
      before: called with what the name or the description says, without tensors, before weights are fetched or opened.

    Raises:
      FileNotFoundError: nothing is there, saying what was looked for.
      CheckpointError: something is there and cannot be read.
    """
    text = str(source)
    path = expanded(text.removeprefix("local-dir:"))
    if path.is_dir():
        return from_home(Folder(path), text, key, before)
    if is_there(path):
        return _from_file(path, text, key)
    if isinstance(source, str) and not source.startswith("local-dir:"):
        return _from_name(source, key, offline, before)
    raise FileNotFoundError(f"there is no file or folder {text}.{where_left(Path(text).absolute())}")


def _from_name(name: str, key: str | None, offline: bool, before: Check) -> Source:
    if name == "scenes":
        from jaxclip.data.scenes import CHECKPOINT  # the small CLIP that comes with jaxclip

        return from_home(Folder(CHECKPOINT), name, key, before)
    found = named(name, offline=offline)
    if isinstance(found, Tag):
        return _from_tag(found, name, key, offline, before)
    return from_home(found, name, key, before)


def named(name: str, *, offline: bool = False) -> Tag | Repository:
    """What a name that is no path means: `model/tag` of OpenCLIP's native models, or a hub repository.

    The hub is asked for `hf-hub:org/repo`. A plain `org/repo` could as well be a path that is missing: it is only
    looked up in the hub's cache. Of names of OpenCLIP's nothing is looked up.

    Args:
      offline: as `open_source` takes it.

    Raises:
      CheckpointError: an architecture without a tag, one that is not read, or a tag that there is not.
      FileNotFoundError: nothing, with what was perhaps meant.
    """
    typed, bare = name.startswith("hf-hub:"), name.removeprefix("hf-hub:")
    model, _, tag = bare.partition("/")
    check_other(re.split(r"[/:,@ ]", bare)[0])
    if model in model_names() and not typed:
        if not tag:
            listed = ", ".join(f"{model}/{known}" for known in tags(model)) or "none: it has no pretrained weights"
            raise CheckpointError(f"{model} is an architecture, not a checkpoint; name one of its tags: {listed}.")
        return find_tag(model, tag)
    check_spelling(name, bare)
    repository = parse_repository(bare, offline=offline or not typed)
    is_file = Path(name).suffix in WEIGHT_SUFFIXES
    near = "" if is_file or typed else meant(bare)
    if repository is not None and not typed and not repository.known and not is_file:
        raise FileNotFoundError(
            f"there is no file or folder {name}{near}; if a hub repository is meant, write hf-hub:{name}."
            f"{where_left(Path(name).absolute())}"
        )
    if repository is None or (is_file and not typed):
        raise FileNotFoundError(
            f"{name} is no file or folder here, no OpenCLIP name such as ViT-B-16/laion2b_s34b_b88k, and no repository "
            f"such as hf-hub:org/repo{near}."
        )
    return repository


def _from_tag(tag: Tag, label: str, key: str | None, offline: bool, before: Check) -> Source:
    if (tag.model, tag.tag) in MISLABELLED:
        raise CheckpointError(
            f"open_clip's registry gives {tag.name} the repository {tag.repository}, which holds other weights; "
            f"download {tag.url} and pass the file with like={tag.name!r}."
        )
    repository = Repository(tag.repository, offline=offline)
    before(Source(label, {}, "openclip", (), repository, tag=tag))
    weights = repository.file("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    own = repository.cached(OPENCLIP_CONFIG)
    described = {"openclip": read_json(own)} if own else {}
    return _source(label, (weights,), repository, key, tag=tag, described=described)


def from_home(home: Files, label: str, key: str | None = None, before: Check = unchecked) -> Source:
    """The checkpoint in a folder or repository. What describes it is looked at before its weights are fetched."""
    found = described_in(home)
    if len(found) == 1:
        kind, fields = next(iter(found.items()))
        towers_of(kind, fields)
        before(Source(label, {}, _usual(kind), (), home, **choose(found, _usual(kind), home)))
    names = (OPENCLIP_WEIGHTS if "openclip" in found else ()) + (HF_WEIGHTS if "huggingface" in found else ())
    if "huggingface" in found or not found:
        check_no_adapter(home)
    if not found:
        check_no_wrapper(home)
    if not found and isinstance(home, Repository):
        home.file(OPENCLIP_CONFIG, HF_CONFIG)
    return _source(label, _weights(home, names or OPENCLIP_WEIGHTS + HF_WEIGHTS), home, key, described=found)


def has_usual_weights(home: Folder, kind: str) -> bool:
    """Whether a folder's weights can be those that a description of that library is for; also where there are none."""
    usual = OPENCLIP_WEIGHTS if kind == "openclip" else HF_WEIGHTS
    others = [path for path in home.path.iterdir() if path.suffix in WEIGHT_SUFFIXES and path.name not in usual]
    return not others or any(home.find(name) is not None for name in usual)


def _usual(kind: str) -> Layout:
    """The layout of the weights that a library's description is for."""
    return "huggingface" if kind == "huggingface" else "openclip"


def _from_file(path: Path, label: str, key: str | None) -> Source:
    """A single file. A configuration that lies beside it counts when the file has the name that goes with it."""
    beside = Folder(path.parent)
    usual = path.name in HF_WEIGHTS or HF_VARIANT.fullmatch(path.name)
    found = described_in(beside) if usual or path.name in OPENCLIP_WEIGHTS else {}
    files = _shards(path) if path.name.endswith(".index.json") else (path,)
    return _source(label, files, beside if found else None, key, described=found)


def _weights(home: Files, names: tuple[str, ...]) -> tuple[Path, ...]:
    for name in names:
        path = home.find(name)
        if path is not None:
            return _shards(path, home) if name.endswith(".index.json") else (path,)
    if isinstance(home, Repository):
        return (home.file(*names),)
    assert isinstance(home, Folder)
    held = sorted(path.name for path in home.path.iterdir() if path.suffix in WEIGHT_SUFFIXES and not path.is_dir())
    found = [path for name in held if (path := home.find(name)) is not None]
    if len(found) == 1:
        return (found[0],)
    others = ", ".join(path.name for path in found[:5]) or "none"
    raise FileNotFoundError(f"{home.name} has no {' or '.join(names)}; other weight files: {others}. Name one file.")


def _shards(index: Path, home: Files | None = None) -> tuple[Path, ...]:
    """The files of a sharded checkpoint; the names in its index must be plain names in the same place."""
    home = home or Folder(index.parent)
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


def _source(
    label: str,
    files: tuple[Path, ...],
    home: Files | None,
    key: str | None,
    *,
    described: Mapping[str, dict[str, Any]],
    tag: Tag | None = None,
) -> Source:
    tables: dict[str, State] = {}
    scripted = False
    for path in files:
        found, is_script = open_weights(path)
        for place, table in found.items():
            twice = sorted(set(table) & set(tables.get(place, ())))
            if twice:
                raise CheckpointError(f"{path.name} holds {twice[0]} again, which another shard holds already.")
            tables.setdefault(place, {}).update(table)
        scripted |= is_script
    tensors, place = clip_weights(tables, key, label)
    layout = _layout(set(tensors), label)
    if scripted and layout == "openclip":
        raise CheckpointError(
            f"{label} is a TorchScript archive, but not of OpenAI's CLIP; save its state dict instead."
        )
    return Source(label, tensors, layout, files, home, place, tag, **choose(described, layout, home))


def _layout(names: set[str], label: str) -> Layout:
    """The layout of a whole CLIP's names.

    Raises:
      CheckpointError: they are an image tower's alone, or no CLIP's.
    """
    layout = detect_layout(names)
    check_network(names, layout, label)
    if layout is None and {"class_embedding", "conv1.weight"} <= names:
        raise CheckpointError(
            f"{label} holds an image tower alone: put it into the model that it comes from, which has both, and "
            f"save that: model.visual.load_state_dict(...), torch.save(model.state_dict(), 'weights.pt')."
        )
    if layout is None:
        some = ", ".join(name[:100] for name in sorted(names)[:3]) or "no tensor at all"
        raise CheckpointError(
            f"{label} holds {some}: neither OpenCLIP's names (visual.class_embedding, ...) nor Hugging Face's "
            f"(vision_model.embeddings.class_embedding, ...). Only whole CLIPs with a native ViT tower can be read."
        )
    return layout


def open_weights(path: Path) -> tuple[dict[str, State], bool]:
    """Tables of named tensors in one weight file by the keys that lead to them, and whether it is TorchScript's.

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
