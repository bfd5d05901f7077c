"""The engine: runs a table of rules over a checkpoint, one tensor at a time, and proves that nothing was left over."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from jaxclip.config import N_PREFIX, ClipConfig
from jaxclip.convert.formats.format import Format
from jaxclip.convert.positions import grid_of
from jaxclip.convert.readers.tensors import FLOATS, CheckpointError, LazyTensor, aligned, as_dtype
from jaxclip.convert.rules import Move, forward
from jaxclip.model.params import shapes, unflatten
from jaxclip.numerics.arrays import counted
from jaxclip.numerics.ops import resize_positions

VISION_POSITIONS = "vision.positional_embedding"
MAX_LISTED = 40


def fill(
    tensors: Mapping[str, LazyTensor],
    config: ClipConfig,
    form: Format,
    dtype: str,
    source_grid: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Fill the parameter tree of a checkpoint.

    Every tensor is used once and every parameter is filled once. At any time one tensor of the source is in memory
    besides the result.

    Args:
      tensors: the checkpoint's own names, unread.
      config: what it is.
      form: what its names mean.
      dtype: of the result; a value that float16 cannot hold is an error.
      source_grid: patches (down, across) that the stored position embedding covers, where that is not `config`'s own
        grid; None takes a square one, as OpenCLIP does.

    Raises:
      CheckpointError: one error that lists every tensor that is missing, left over, misshapen or not floating point.
    """
    deepest = max(config.vision.n_layers, config.text.n_layers if config.text else 0)
    if deepest > len(tensors):
        only = counted(len(tensors), "tensor")
        raise CheckpointError(f"the configuration has {deepest} layers, but the checkpoint only {only}.")
    plan = form.moves(config, set(tensors))
    _check(tensors, plan, config, form, source_grid)
    leaves = _allocate(shapes(config, logit_bias="logit_bias" in tensors), dtype)
    for move in plan:
        array = tensors[move.source].read()
        if move.target == VISION_POSITIONS:
            kept = source_grid or (config.vision.grid if array.shape == move.shape else grid_of(array.shape[0]))
            if kept is None:  # `_check` has seen that it is one of these
                raise CheckpointError(f"{move.source} is no grid of positions.")
            array = np.asarray(resize_positions(array, kept, config.vision.grid, config.preprocess.library))
        _place(leaves[move.target], move, array)
    return unflatten(leaves)


def _allocate(wanted: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, np.ndarray]:
    try:
        return {path: aligned(shape, as_dtype(dtype)) for path, shape in wanted.items()}
    except (MemoryError, OverflowError) as error:
        largest = max(wanted.items(), key=lambda item: prod(item[1]))
        raise CheckpointError(f"there is no memory for {largest[0]} of shape {list(largest[1])}.") from error


def _place(target: np.ndarray, move: Move, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise CheckpointError(f"{move.source} holds NaN or infinity; this checkpoint cannot be used.")
    with np.errstate(over="ignore"):
        target[move.index] = forward(move, array)
    if target.dtype.itemsize < array.dtype.itemsize and not np.isfinite(target[move.index]).all():
        raise CheckpointError(f"{move.source} has values that {target.dtype} cannot hold; pass dtype='float32'.")


def _check(
    tensors: Mapping[str, LazyTensor],
    plan: list[Move],
    config: ClipConfig,
    form: Format,
    source_grid: tuple[int, int] | None,
) -> None:
    needed = {move.source for move in plan}
    skipped = re.compile("|".join(ignored(config, form)))
    extra = sorted(name for name in set(tensors) - needed if not skipped.fullmatch(name))
    gaps = [f"missing: {name}" for name in sorted(needed - set(tensors))]
    gaps += [f"left over: {name} {list(tensors[name].shape)}" for name in extra]
    gaps += _uncovered(plan, tensors, config)
    for move in plan:
        if move.source in tensors:
            gaps += _misfit(move, tensors[move.source], source_grid)
    if gaps:
        listed = gaps[:MAX_LISTED] + ([f"... and {len(gaps) - MAX_LISTED} more"] if len(gaps) > MAX_LISTED else [])
        if len(gaps) == len(extra):
            listed.append("If the CLIP computes the same without them, save its state dict without them.")
        raise CheckpointError(
            f"the weights do not fit the configuration of {config.name} ({counted(len(gaps), 'gap')}):\n  "
            + "\n  ".join(listed)
        )
    stored = sum(path.stat().st_size for path in {tensor.path for tensor in tensors.values()})
    used = sum(prod(tensors[move.source].shape) * as_dtype(tensors[move.source].dtype).itemsize for move in plan)
    if used > stored:  # a pickle can name the same bytes any number of times
        raise CheckpointError(
            f"the tensors of {config.name} take {used:,} bytes and its files have {stored:,}: tensors share their "
            f"numbers, which no CLIP's do; save copies of them."
        )


def ignored(config: ClipConfig, form: Format) -> tuple[str, ...]:
    """List patterns of the names that a checkpoint may hold and the parameter tree does not."""
    return form.ignored + (form.ignored_text if config.text is None else ())


def _uncovered(plan: list[Move], tensors: Mapping[str, LazyTensor], config: ClipConfig) -> Iterable[str]:
    """Find parameters that the rules fill twice or not wholly; only a wrong table gets here."""
    filled: Counter[str] = Counter()
    for move in plan:
        filled[move.target] += prod(move.shape)
    for (target, index), count in Counter((move.target, str(move.index)) for move in plan).items():
        if count > 1:
            yield f"filled {count} times: {target}[{index}]"
    wanted = {path: prod(shape) for path, shape in shapes(config, logit_bias="logit_bias" in tensors).items()}
    for path in sorted(set(wanted) | set(filled)):
        if filled[path] != wanted.get(path):
            yield f"not filled: {path} gets {filled[path]} of {counted(wanted.get(path, 0), 'number')}"


def _misfit(move: Move, tensor: LazyTensor, source_grid: tuple[int, int] | None) -> Iterable[str]:
    shape = tensor.shape
    if move.target == VISION_POSITIONS and len(shape) == 2:
        n_tokens, width = shape
        fits = width == move.shape[1] and (source_grid is None or n_tokens == N_PREFIX + prod(source_grid))
        fits = fits and (n_tokens == move.shape[0] or source_grid is not None or grid_of(n_tokens) is not None)
    else:
        fits = shape == move.shape or (move.shape == () and shape == (1,))
    if not fits:
        yield f"misshapen: {move.source} is {list(shape)}, expected {list(move.shape)}"
    if tensor.dtype not in FLOATS:
        yield f"not floating point: {move.source} is {tensor.dtype}"
