"""Parameters on disk, in Orbax's format: what a folder claims is compared with the model before room is made for it."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxclip.config import ClipConfig
from jaxclip.files.disk import disk_fault
from jaxclip.model.params import check_shapes, unflatten


def write_weights(folder: Path, leaves: Mapping[str, Any]) -> None:
    """Write arrays by dotted path, as they are.

    Raises:
      Exception: the disk fills up or fails, in Orbax's words and of its types.
    """
    # Uncompressed: weights do not compress, and compressing holds a second copy of every array until it is written.
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=True, use_compression=False)
    with _raised_only(), ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(folder, args=ocp.args.PyTreeSave({path: _on_host(leaf) for path, leaf in leaves.items()}))


def read_weights(folder: Path, config: ClipConfig, shardings: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Read the nested tree of a model's parameters.

    Args:
      folder: that `write_weights` wrote.
      config: what they have to be; others are refused before any is read.
      shardings: by dotted path; those are read straight to their devices, the others become NumPy arrays.
      dtype: of the result; None keeps the saved one.

    Raises:
      ValueError: they are other parameters, more than the folder can hold, or not what was written.
    """
    with _raised_only(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        with _explained(folder):
            metadata = checkpointer.metadata(folder).item_metadata
            if metadata is None:  # Orbax says why in its log only
                raise ValueError("no list of them can be read")
            held = dict(getattr(metadata, "tree", metadata))
        check_shapes(config, {path: _shape(leaf) for path, leaf in held.items()})
        _check_stored(folder, held)
        wanted = {
            path: ocp.ArrayRestoreArgs(sharding=shardings[path], dtype=dtype)
            if path in shardings
            else ocp.RestoreArgs(restore_type=np.ndarray, dtype=dtype)
            for path in held
        }
        with _explained(folder):
            return unflatten(checkpointer.restore(folder, args=ocp.args.PyTreeRestore(restore_args=wanted)))


def _shape(leaf: Any) -> tuple[int, ...] | None:
    """None for what is no array."""
    return tuple(leaf.shape) if isinstance(leaf, ocp.metadata.ArrayMetadata) else None


def _check_stored(folder: Path, held: Mapping[str, Any]) -> None:
    """Numbers that are not stored have a value all the same, so a line of metadata could stand for any of them."""
    for path, leaf in held.items():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"{path} in {folder} is of {leaf.dtype}, expected floating point; convert it again.")
        # A piece is unpacked whole, however little of it is wanted.
        piece = (leaf.storage and leaf.storage.chunk_shape) or leaf.shape
        if prod(piece) > prod(leaf.shape):
            raise ValueError(f"{path} in {folder} is {list(leaf.shape)} in pieces of {list(piece)}; convert it again.")
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    claimed = sum(prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in held.values())
    if claimed > stored:
        raise ValueError(
            f"the parameters in {folder} take {claimed:,} bytes and its files have {stored:,}; convert it again."
        )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Anything that Orbax and tensorstore raise for a folder that they cannot read as one sentence."""
    try:
        yield
    except Exception as error:  # files that somebody made up can end in any error of theirs
        if disk_fault(error):
            raise
        reason = f"{type(error).__name__}: {error!s:.300}".splitlines()[0]
        raise ValueError(f"{folder} is damaged ({reason}); convert it again.") from error


@contextmanager
def _raised_only() -> Iterator[None]:
    """Orbax logs an error of its threads that it raises as well; a moment later tensorstore and asyncio complain that
    nobody waits for the other threads any more."""
    loggers, hook = [logging.getLogger(name) for name in ("absl", "asyncio")], sys.unraisablehook
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    except BaseException:
        time.sleep(0.25)
        raise
    finally:
        sys.unraisablehook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _on_host(leaf: Any) -> Any:
    """A jax.Array over the same memory where that is aligned; Orbax would copy a NumPy array before writing it."""
    if isinstance(leaf, jax.Array):
        return leaf
    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS can leave the host's backend out.
        return leaf
    return jax.device_put(leaf, host, may_alias=True)
