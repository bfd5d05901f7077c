"""Where in a file the weights of a CLIP are: under which keys of what a training run left, after which prefix."""

import re
from collections.abc import Mapping
from typing import Any

from jaxclip.convert.formats import anchors
from jaxclip.convert.readers.tensors import FLOATS, CheckpointError, LazyTensor

State = dict[str, LazyTensor]
WRAPPED = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What PyTorch puts into names where a module is compiled, sharded or checkpointed; the weights are the same."""
ADAPTER = re.compile(r"(?<![^.])(lora_\w+|base_layer)(?![^.])")
TRAINING = re.compile(r"optim|sched|scaler|callback|loops|rng|random")
"""Keys of what a training run needs to go on and its model does not."""
MAX_DEPTH, MAX_CLIPS, MAX_WORD, MAX_LISTED = 4, 20, 100, 3


def state_dicts(held: Any) -> dict[str, State]:
    """Find every table of named tensors in what a file holds, by the keys that lead to it, joined by dots.

    A table that is in two places is found in one. Lists are not looked into: no state dict is in one.

    Raises:
      CheckpointError: two tables whose keys read the same.
    """
    found: dict[str, State] = {}
    waiting: list[tuple[tuple[str, ...], Any]] = [((), held)] if isinstance(held, Mapping) else []
    seen: set[int] = set()
    for keys, table in waiting:  # it grows while it is read, so that the outer tables come first
        if id(table) in seen:
            continue
        seen.add(id(table))
        tensors = {str(name): value for name, value in table.items() if isinstance(value, LazyTensor)}
        if tensors and ".".join(keys) in found:
            raise CheckpointError(f"two tables of tensors are under {'.'.join(keys)!r}; save one state dict.")
        if tensors:
            found[".".join(keys)] = tensors
        if len(keys) < MAX_DEPTH:
            inner = ((key, value) for key, value in table.items() if isinstance(value, Mapping))
            waiting += [((*keys, str(key)[:MAX_WORD]), value) for key, value in inner]
    return found


def clip_weights(tables: Mapping[str, State], key: str | None, label: str) -> tuple[State, str]:
    """Pick the one CLIP among a file's tables, under its own names, and say where it was; without one, all there is.

    Args:
      tables: as of `state_dicts`.
      key: the keys and the prefix that lead to the CLIP that is meant, joined by dots; None where there is only one.
      label: what to call the file.

    Raises:
      CheckpointError: several CLIPs and no `key`, a `key` that leads to none, or, without `key`, an adapter or other
        weights beside the CLIP, which may change what it computes.
    """
    tables = {place: _unwrapped(table, label) for place, table in tables.items()}
    clips = _clips(tables, label)
    listed = ", ".join(map(repr, clips)) or "none"
    if key is None:
        _check_no_adapter(tables, label)
        if not clips:
            return {name: tensor for table in tables.values() for name, tensor in table.items()}, ""
        if len(clips) > 1:
            raise CheckpointError(f"{label} holds {len(clips)} CLIPs; pass key= with one of {listed}.")
        (name,) = clips
        _check_alone(tables, clips[name], name, label)
        return _inside(tables, clips[name], ()), name
    if key not in clips:
        raise CheckpointError(f"{label} has no CLIP under key={key!r}; those it holds: {listed}.")
    place, prefix = clips[key]
    deeper = tuple(other for where, other in clips.values() if where == place and len(other) > len(prefix))
    return _inside(tables, (place, prefix), deeper), key


def _clips(tables: Mapping[str, State], label: str) -> dict[str, tuple[str, str]]:
    """Find CLIPs: the table and the prefix in it, by the name that a caller picks one with."""
    found: dict[str, tuple[str, str]] = {}
    known = anchors()
    for place, table in tables.items():
        for tensor in table:
            for anchor in known:
                if tensor == anchor or tensor.endswith("." + anchor):
                    prefix = tensor.removesuffix(anchor)
                    name = ".".join(filter(None, (place, prefix.removesuffix("."))))
                    if name in found or len(found) == MAX_CLIPS:
                        raise CheckpointError(f"{label} holds two CLIPs by one name or too many; save one state dict.")
                    found[name] = place, prefix
    return found


def _inside(tables: Mapping[str, State], clip: tuple[str, str], but: tuple[str, ...]) -> State:
    """Take the tensors under a prefix, without those under one of `but`."""
    place, prefix = clip
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tables[place].items()
        if name.startswith(prefix) and not (but and name.startswith(but))
    }


def _unwrapped(table: State, label: str) -> State:
    found = {WRAPPED.sub("", name): tensor for name, tensor in table.items()}
    if len(found) < len(table):
        raise CheckpointError(f"{label} holds weights twice, with and without _orig_mod; save one state dict.")
    return found


def _check_no_adapter(tables: Mapping[str, State], label: str) -> None:
    adapter = next((name for table in tables.values() for name in table if ADAPTER.search(name)), None)
    if adapter is not None:
        raise CheckpointError(
            f"{label} holds a LoRA adapter ({adapter[:MAX_WORD]}), without which its CLIP is another model; merge it "
            f"in Python with peft: model.merge_and_unload().save_pretrained(FOLDER), and pass that folder."
        )


def _check_alone(tables: Mapping[str, State], clip: tuple[str, str], name: str, label: str) -> None:
    """Refuse weights beside the CLIP: any but counters in its own table, matrices in one that is not training's."""
    place, prefix = clip
    outside = ((name, tensor) for name, tensor in tables[place].items() if not name.startswith(prefix))
    beside = [name for name, tensor in outside if tensor.dtype in FLOATS or tensor.shape]
    for where, table in tables.items():
        if where != place and not TRAINING.search(where.lower()):
            matrices = (other for other, tensor in table.items() if tensor.dtype in FLOATS and len(tensor.shape) > 1)
            beside += [f"{where}.{other}".removeprefix(".") for other in matrices]
    if beside:
        listed = ", ".join(other[:MAX_WORD] for other in sorted(beside)[:MAX_LISTED])
        raise CheckpointError(
            f"{label} holds a CLIP under {name!r} and beside it weights that may change what it computes: {listed}"
            f"{', ...' if len(beside) > MAX_LISTED else ''}; pass key={name!r} to take the CLIP without them."
        )
