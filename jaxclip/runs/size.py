"""What a pass will keep in memory and on disk, known before its first step."""

import shutil
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxclip.config import VisionConfig
from jaxclip.devices.sharding import DATA
from jaxclip.files.atomic import SPARE
from jaxclip.numerics.arrays import counted
from jaxclip.runs.bank import row_shapes
from jaxclip.runs.component_moments import Collected

MEMORY = 8.0
"""GiB of moments that a pass may hold on one device or host, unless it is told otherwise."""

ONE_DEVICE, EACH_OF_SEVERAL = 2.0, 3.4
"""Times its moments that a step holds: they are merged into a copy, and of several devices each into a part of its own
and a sum (measured; `tests/runs/test_run_size.py`)."""

WAY_OUT = (
    "Labels that are whole numbers have a value for each from 0 to the largest; written as words, c99999 for 99999, "
    "only those that occur have one."
)


class Size(NamedTuple):
    """Bytes of a run.

    Attributes:
      values: kind of label -> how many values it has.
      each: moments of one value, or of all images.
      device: of moments on one device, while a step runs.
      host: of moments in a host's own memory, while a step runs or they are saved.
      state: on disk, old and new while one is saved.
      bank: on disk.
    """

    values: dict[str, int]
    each: int
    device: int
    host: int
    state: int
    bank: int

    def __str__(self) -> str:
        """In one line, for people."""
        held = f"moments {giga(max(self.device, self.host))} in memory while a step runs" if self.each else ""
        disk = f"{giga(self.state + self.bank)} on disk"
        return ", ".join(part for part in (held, disk) if part)


def run_size(
    config: VisionConfig,
    n: int,
    label_names: Mapping[str, Sequence[str]],
    *,
    moments: bool,
    by: Sequence[str],
    bank: bool,
    bank_dtype: str,
    mesh: Mesh | None = None,
) -> Size:
    """What a pass over n images will keep.

    Args:
      config: the image tower.
      n: images.
      label_names: of the data.
      moments, by, bank, bank_dtype: as in `jaxclip.runs.run_pass.PassOptions`.
      mesh: devices to run on.
    """
    shapes = jax.eval_shape(lambda: jax.tree.leaves(Collected.zero(config)))
    each = sum(leaf.size * leaf.dtype.itemsize for leaf in shapes) if moments else 0
    values = {kind: len(label_names[kind]) for kind in by}
    whole = each * (1 + sum(values.values()))
    several = mesh is not None and mesh.shape[DATA] > 1
    device = int(whole * (EACH_OF_SEVERAL if several else ONE_DEVICE))
    # On a CPU devices are the host's own memory; from others moments are copied there to be saved.
    shared = jax.default_backend() == "cpu"
    host = device * (jax.local_device_count() if mesh is not None else 1) if shared else whole
    width = np.dtype(bank_dtype).itemsize
    row = width * sum(prod(shape) for shape in row_shapes(config).values()) + 4 * len(label_names) + 1
    return Size(values, each, device, host, 2 * whole, n * row if bank else 0)


def check_size(size: Size, out: Path, memory: float = MEMORY, disk: float | None = None) -> None:
    """Refuse a run that would take more than there is.

    Args:
      size: of the run.
      out: its folder; what is there already counts as taken.
      memory: GiB of moments that a device, or a host, may hold.
      disk: GiB that the run may take there; by default what is free.

    Raises:
      ValueError: too much memory, saying for what and how to allow it.
      OSError: too much disk.
    """
    if (needed := max(size.device, size.host)) > memory * 2**30:
        kinds = ", ".join(f"{counted(n, 'value')} of {kind}" for kind, n in size.values.items()) or "all images"
        raise ValueError(
            f"moments of {kinds} take {giga(needed)} while a step runs ({giga(size.each)} a value), more than the "
            f"{memory:g} GiB that they may. Leave out by for kinds with so many values, or pass "
            f"memory={needed / 2**30 + 0.05:.1f} (GiB) where there is room. {WAY_OUT}"
        )
    needed = size.state + size.bank
    there = sum(path.lstat().st_size for path in out.rglob("*")) if out.is_dir() else 0
    parent = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    room = shutil.disk_usage(parent).free - SPARE + there if disk is None else int(disk * 2**30)
    if needed > room:
        limit = "there is room for" if disk is None else "it may take"
        raise OSError(
            f"{out} will take {giga(needed)} on disk and {limit} {giga(max(room, 0))}. Free some, store "
            f"bank_dtype='float16' or fewer images, or pass disk={needed / 2**30 + 0.05:.1f} (GiB) if there is room."
        )


def giga(n_bytes: int) -> str:
    """Bytes for people."""
    return f"{n_bytes / 2**30:,.1f} GiB" if n_bytes >= 2**30 / 10 else f"{n_bytes / 2**20:,.1f} MiB"
