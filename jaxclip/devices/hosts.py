"""Several hosts as one: what they agree on, what one does for all, and what each holds of an array.

A host is a process of JAX's own distributed runtime (`jaxclip.devices.cluster` joins it). On one host all of this is
free.
"""

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxclip.files.differences import differences
from jaxclip.files.plain import is_there, read_bytes


def is_first() -> bool:
    """Tell whether this host does what is done once."""
    return jax.process_index() == 0


def gather(data: bytes) -> list[bytes]:
    """Gather what every host has, on every host, in their order."""
    if jax.process_count() == 1:
        return [data]
    lengths = process_allgather(np.int32(len(data)))
    # A power of two: few sizes, and so few programs.
    padded = np.zeros(1 << int(lengths.max()).bit_length(), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    every = process_allgather(padded)
    return [every[host, :length].tobytes() for host, length in enumerate(lengths.tolist())]


def agree(**said: Any) -> None:
    """Make sure that all hosts say the same.

    Args:
      said: in JSON types.

    Raises:
      ValueError: naming the first that does not and what differs, on every host.
    """
    every = [json.loads(data) for data in gather(json.dumps(said).encode())]
    for host, other in enumerate(every):
        if differing := sorted(differences(every[0], other, between=f"is {{}} on host 0 and {{}} on host {host}")):
            raise ValueError(
                f"all hosts must run the same command with the same programs on the same model and data; "
                f"{'; '.join(differing)}."
            )


def once(action: Callable[[], Any]) -> None:
    """Let the first host run an action while the others wait; all hosts raise its errors.

    Raises:
      ValueError, OSError: as the action raised it there.
    """
    error = None
    if is_first():
        try:
            action()
        except (ValueError, OSError) as raised:
            error = raised
    kind, message = json.loads(gather(json.dumps([type(error).__name__, str(error)]).encode())[0])
    if error is not None:
        raise error
    if kind != "NoneType":
        known = getattr(builtins, kind, ValueError)
        raise known(message) if issubclass(known, OSError) else ValueError(message)


def check_shared(path: Path) -> None:
    """Make sure that every host sees what the first one wrote into `path`, which no host has written before.

    Raises:
      OSError: one does not.
    """
    if jax.process_count() == 1:
        return
    held = read_bytes(path) if is_there(path) else b""
    seen = gather(json.dumps(gather(held)[0] == held != b"").encode())
    if blind := [host for host, answer in enumerate(seen) if not json.loads(answer)]:
        raise OSError(
            f"host {blind[0]} does not see what host 0 writes to {path.parent}; --out must lie on a file system that "
            f"all hosts share."
        )


def local(array: Any) -> np.ndarray:
    """Read what this host holds of an array: all of it, or its own rows."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    shards = array.addressable_shards
    boxes = [[side.indices(n)[:2] for side, n in zip(shard.index, array.shape, strict=True)] for shard in shards]
    first, last = np.min(boxes, 0)[:, 0], np.max(boxes, 0)[:, 1]
    whole = np.empty(last - first, array.dtype)
    for box, shard in zip(boxes, shards, strict=True):
        at = tuple(slice(start - low, stop - low) for (start, stop), low in zip(box, first, strict=True))
        whole[at] = shard.data
    return whole


class Vote:
    """Numbers that hosts may say at any step, and the largest of a step for all of them at the next one.

    One step late, so that no host waits: the device answers while it computes.
    """

    def __init__(self, mesh: Mesh | None):
        self._mesh = mesh if jax.process_count() > 1 else None
        self._pending: jax.Array | None = None
        if self._mesh is not None:
            self._split = NamedSharding(self._mesh, PartitionSpec(self._mesh.axis_names))
            whole = NamedSharding(self._mesh, PartitionSpec())
            self._largest = jax.jit(lambda x: x.max(), out_shardings=whole)

    def __call__(self, number: int) -> int:
        if self._mesh is None:
            return number
        said = np.full(jax.local_device_count(), number, np.int32)
        last, self._pending = self._pending, self._largest(jax.make_array_from_process_local_data(self._split, said))
        return 0 if last is None else int(last)


class Stopped(Exception):
    """An order to stop, which all hosts follow at the same step, once what is done is saved."""
