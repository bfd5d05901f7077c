"""The one loop that runs a model over a data set. What it leaves behind is opened with `jaxclip.open_run`.

    run.json        what ran: model, data, options, versions; a run only ever continues as itself
    matrices.npy    the heads' way into the joint space
    images.jsonl    one line an image: its name, its labels, and why it could not be read, if so
    state.npz       how far the pass is, with the moments up to there and checksums of the files above; replaced whole
    bank/           see `jaxclip.bank`

Batches have a fixed order, and what follows the last saved state is thrown away or written over by the same bytes. So a
pass that was killed anywhere ends with the same bits as one that was not.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import get_args

import jax
import numpy as np
from jax.sharding import Mesh

from jaxclip import sharding
from jaxclip.bank import BankDtype, BankWriter, label_path
from jaxclip.clip import Clip
from jaxclip.collected import to_arrays
from jaxclip.data.loader import Batch, batches
from jaxclip.data.source import Source
from jaxclip.heads import HeadState
from jaxclip.nonfinite import explain_nonfinite
from jaxclip.pass_step import Units, step
from jaxclip.run_folder import (
    BANK,
    IMAGES,
    STATE,
    ImageLines,
    check_unchanged,
    claimed,
    describe,
    explained,
    fixed_checksums,
    read_info,
    replaced,
    settle,
)
from jaxclip.runs import Run, by_key, open_run, read_state


@dataclass(frozen=True, kw_only=True)
class PassOptions:
    """What a pass does. All of it is recorded, and none of it may change when a pass goes on.

    Attributes:
      batch: images of one step; it decides how sums are rounded.
      moments: collect moments of every component.
      by: kinds of label for whose values moments are collected separately as well.
      bank: store what each image leaves behind.
      bank_dtype: of the stored numbers.
      units: "normalized" divides an image's components by the norm of its embedding, as the paper's code does.
      apply_exif: turn photographs as their EXIF tag says; OpenCLIP does not.
    """

    batch: int = 32
    moments: bool = True
    by: tuple[str, ...] = ()
    bank: bool = False
    bank_dtype: BankDtype = "float32"
    units: Units = "normalized"
    apply_exif: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1; got {self.batch}.")
        if not (self.moments or self.bank):
            raise ValueError("a pass without moments and without a bank leaves nothing behind; ask for one of them.")
        if self.by and not self.moments:
            raise ValueError(f"by={self.by} asks for moments; pass moments=True.")
        for name, choices in (("bank_dtype", BankDtype), ("units", Units)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}; got {getattr(self, name)!r}.")

    def check(self, source: Source) -> None:
        """Refuse kinds of label that a source does not have."""
        if missing := [kind for kind in self.by if not source.label_names.get(kind)]:
            there = ", ".join(kind for kind, names in source.label_names.items() if names) or "none"
            raise ValueError(f"the data has no labels of kind {', '.join(missing)}; it has {there}.")


def run_pass(
    clip: Clip,
    source: Source,
    out: str | Path,
    options: PassOptions = PassOptions(),
    *,
    mesh: Mesh | None = None,
    model: str = "",
    data: str = "",
    save_every: float = 60.0,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """Run a model over a data set, or go on with it where it was; an ended run is only opened.

    However often it was interrupted, what it leaves is bit for bit the same on the same machine; on another number of
    devices it is the same but for rounding.

    Args:
      clip: only its image tower is used.
      source: the images, from `jaxclip.data.sources.open_data`.
      out: a folder for the run.
      options: what to leave there.
      mesh: devices to run on, from `jaxclip.sharding.make_mesh`; by default all there are, each with its own part of
        every batch.
      model: what the model was loaded from, to be recorded.
      data: the same of the data.
      save_every: seconds between saved states, the most work that an interruption costs.
      n_threads: that read images.
      progress: called after every step with the number of images seen and of all.

    Raises:
      FileExistsError: the folder holds something else, or another process is running into it.
      ValueError: it holds a run of another model, of other data or options, or by other versions; no image could be
        read; the model gives NaN; a batch cannot be split over the devices; there are several hosts.
      OSError: the disk is full. What was done so far is kept.
    """
    options.check(source)
    if jax.process_count() > 1:
        raise ValueError(f"a pass runs on one host; got {jax.process_count()}. Run it on one, on all of its devices.")
    mesh = sharding.default_mesh() if mesh is None else mesh
    if mesh is not None:
        sharding.check(mesh.shape, clip.config.vision, options.batch)
    out = Path(out).absolute()
    with claimed(out), explained(out):
        settle(out, describe(clip, source, asdict(options), model, data), clip)
        loop = _Pass(clip, source, out, options, mesh)
        try:
            saved = monotonic()
            for batch in loop.remaining(n_threads):
                loop.step(batch)
                progress(loop.n_seen, len(source))
                if monotonic() - saved >= save_every:
                    loop.save()
                    saved = monotonic()
            loop.save()
        finally:
            loop.close()
    return open_run(out)


class _Pass:
    """A pass between two steps. The numbers of a batch are fetched while the device works on the next one."""

    def __init__(self, clip: Clip, source: Source, out: Path, options: PassOptions, mesh: Mesh | None):
        self.clip, self.source, self.out, self.options = clip, source, out, options
        state = read_state(out, read_info(out))
        check_unchanged(out, {name: said for name, said in state.checksums.items() if name != IMAGES})
        self.moments, self.n_done, self._saved = state.moments, state.n_batches, state.n_batches
        self.mesh, self.vision = mesh, clip.vision
        if mesh is not None:
            self.moments = sharding.place_moments(self.moments, mesh)
            self.vision = sharding.place_vision(clip.vision, mesh)
        self._pending: tuple[int, Batch, HeadState, jax.Array] | None = None
        self._bank = None
        if options.bank and self.n_seen < len(source):
            kinds = list(source.label_names)
            self._bank = BankWriter(
                out / BANK, clip.config.vision, len(source), kinds, options.bank_dtype, options.batch
            )
        self._checksums = fixed_checksums(out)
        self._lines = ImageLines(out, state.n_bytes, state.checksums.get(IMAGES))

    @property
    def n_seen(self) -> int:
        return min(self.n_done * self.options.batch, len(self.source))

    def remaining(self, n_threads: int | None) -> Iterator[Batch]:
        return batches(
            self.source, self.clip.config.preprocess, self.options.batch, start=self.n_done,
            apply_exif=self.options.apply_exif, n_threads=n_threads,
        )  # fmt: skip

    def step(self, batch: Batch) -> None:
        labels = {by_key(kind): batch.labels[kind] for kind in self.options.by}
        inputs = batch.images, batch.weights, labels
        if self.mesh is not None:
            inputs = sharding.place_batch(inputs, self.mesh)
        self.moments, state, norm = step(self.moments, self.vision, *inputs, self.options.units, self.mesh)
        self._keep()
        self._pending = self.n_done * self.options.batch, batch, state, norm
        self.n_done += 1

    def save(self) -> None:
        """Everything up to here is on the disk: rows and lines first, then the state that counts them."""
        self._keep()
        if self.n_done == self._saved:
            return
        if self._bank:
            self._bank.flush()
        said = json.dumps(self._checksums | {IMAGES: self._lines.sync()}).encode()
        counters = {"n_batches": np.int64(self.n_done), "n_bytes": np.int64(self._lines.n_bytes)}
        counters["checksums"] = np.frombuffer(said, np.uint8)
        arrays = {name: np.asarray(leaf) for name, leaf in to_arrays(self.moments).items()}
        with replaced(self.out / STATE) as file:
            np.savez(file, **counters, **arrays)
        self._saved = self.n_done

    def close(self) -> None:
        self._lines.close()

    def _keep(self) -> None:
        if self._pending is None:
            return
        (first, batch, state, norm), self._pending = self._pending, None
        n = len(batch.names)
        readable, norm = batch.weights[:n] > 0, np.asarray(norm)[:n]
        if (bad := np.flatnonzero(readable & ~(np.isfinite(norm) & (norm > 0)))).size:
            raise ValueError(explain_nonfinite(self.clip.vision, batch.images[bad[:1]], [batch.names[bad[0]]]))
        if self._bank:
            rows = {name: np.asarray(values)[:n] for name, values in vars(state).items()}
            labels = {label_path(kind): values[:n] for kind, values in batch.labels.items()}
            self._bank.add(first, {**rows, "norm": norm, "readable": readable, **labels})
        for place in range(n):
            self._lines.add(_line(batch, place))


def _line(batch: Batch, place: int) -> bytes:
    fields = {"name": batch.names[place], "labels": {kind: int(x[place]) for kind, x in batch.labels.items()}}
    if batch.errors[place] is not None:
        fields["error"] = batch.errors[place]
    return json.dumps(fields).encode() + b"\n"
