"""The one loop that runs a model over a data set. What it leaves behind is opened with `jaxclip.open_run`.

    run.json        what ran: model, data, options, order, versions; a run only ever continues as itself
    matrices.npy    the heads' way into the joint space
    images.jsonl    one line an image: its number, name and labels, and why it could not be read, if so; while the pass
                    goes on, images.part.jsonl has them as they come
    state.npz       how far the pass is, with the moments up to there and checksums of the files above; replaced whole
    bank/           see `jaxclip.runs.bank`

Steps have a fixed order, and what follows the last saved state is thrown away or written over by the same bytes. So a
pass that was killed anywhere ends with the same bits as one that was not. Of several hosts each reads its own parts of
the data and writes their rows of the bank; the first one writes all else.
"""

import json
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxclip.clip import Clip
from jaxclip.data.source import Source
from jaxclip.data.stamps import Listing
from jaxclip.devices import hosts, sharding
from jaxclip.devices.hosts import Stopped
from jaxclip.files.atomic import disk_explained
from jaxclip.files.whole import replaced
from jaxclip.model.head_coordinates import HeadState
from jaxclip.model.nonfinite import explain_nonfinite
from jaxclip.numerics.arrays import counted
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.runs.bank import label_path
from jaxclip.runs.bank_writer import BankWriter, create_bank
from jaxclip.runs.component_moments import to_arrays
from jaxclip.runs.decoding import DECODING
from jaxclip.runs.folder import (
    BANK,
    IMAGES,
    LINES,
    LOCK,
    STATE,
    check_unchanged,
    claimed,
    describe,
    fixed_checksums,
    read_info,
    settle,
)
from jaxclip.runs.goes_on import STAMPS, Accepted, changed_after
from jaxclip.runs.image_list import ImageLines
from jaxclip.runs.loader import Batch, batches
from jaxclip.runs.moment_places import place_moments
from jaxclip.runs.options import PassOptions as PassOptions
from jaxclip.runs.order import Order
from jaxclip.runs.program import PARTS
from jaxclip.runs.run import Run, open_run
from jaxclip.runs.size import MEMORY, check_size
from jaxclip.runs.state import State, by_key, read_state
from jaxclip.runs.step import step


@on_own_terms
def run_pass(
    clip: Clip,
    source: Source,
    out: str | Path,
    options: PassOptions = PassOptions(),
    *,
    mesh: Mesh | None = None,
    model: str | None = None,
    data: str | None = None,
    save_every: float = 60.0,
    n_threads: int | None = None,
    decoding: float = DECODING,
    memory: float = MEMORY,
    disk: float | None = None,
    contents: bool = False,
    accept: Collection[Accepted] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Run a model over a data set, or go on with it where it was; an ended run is only opened.

    However often it was interrupted, what it leaves is bit for bit the same on the same machine. On another number of
    hosts the bank is the same to the bit and moments are but for rounding, as long as there are as many devices in all;
    on another number of devices everything is the same but for rounding.

    Args:
      clip: only its image tower is used. Commands find it again by its `source`, as `jaxclip.load` leaves it there.
      source: the images, from `jaxclip.data.open_data.open_data`, or one of one's own with the same methods.
      out: a folder for the run; of several hosts all must see it.
      options: what to leave there.
      mesh: devices to run on, from `jaxclip.devices.sharding.make_mesh`; by default all there are, each with its own
        part of every batch.
      model: where commands find the model, for a Clip that does not know.
      data: where they find the images, for a source that was not opened by `open_data`.
      save_every: seconds between saved states, the most work that an interruption costs.
      n_threads: that read images.
      decoding: GiB that pictures may take together while they are decoded, on each host; never changes a bit.
      memory: GiB that moments may take on a device or a host; more is refused before anything is computed.
      disk: GiB that the run may take on disk; by default what is free.
      contents: compare files by what they hold, not by size, time and inode; reads each of them three times.
      accept: what may differ when a pass goes on (see `jaxclip.runs.goes_on`): "code" of jaxclip, "machine", or "files"
        that were copied or moved.
      progress: called after every step with the number of images seen and of all.
      stop: asked after every step; True on any host saves on all of them and stops there.

    Raises:
      FileExistsError: the folder holds something else, or another process is running into it.
      ValueError: it holds a run of another model, of other data or options, or by other versions; no image could be
        read; the model gives NaN; a batch cannot be split over the devices, or the parts over the hosts; hosts differ.
      DataChanged: a file of the data is not what it was when the pass began. What was done so far is kept.
      OSError: the disk is full, or an image may not be read. What was done so far is kept.
      Stopped: `stop` said so.
    """
    options.check(source)
    mesh = sharding.default_mesh() if mesh is None else mesh
    order, share = options.check_shared(clip.config.vision, len(source), mesh)
    out = Path(out).absolute()
    hosts.once(lambda: check_size(options.size(clip.config.vision, source, mesh), out, memory, disk))
    with ExitStack() as held:
        # Before the fingerprint: what changes in between is found when it is read.
        listing = Listing.of(source, contents=contents, moved="files" in accept)
        described = describe(clip, source, asdict(options) | {"parts": order.parts}, model, data)
        described["order"] = {"parts": order.parts, "steps": order.steps}
        hosts.agree(
            model=described["model"]["hash"], data=described["data"]["fingerprint"], out=str(out),
            options=described["options"], devices=None if mesh is None else dict(mesh.shape),
            contents=contents, accept=sorted(accept),
            **{part: described[part] for part in PARTS if part != "machine" or "machine" not in accept},
        )  # fmt: skip
        held.enter_context(disk_explained(out, "and what was done so far is kept", "run the same command again"))
        hosts.once(lambda: held.enter_context(claimed(out)))
        hosts.check_shared(out / LOCK)
        changes: list[dict[str, Any]] = []
        hosts.once(lambda: changes.extend(settle(out, described, clip, listing, accept)))
        loop = _Pass(clip, source, out, options, order, share, mesh, listing, changes)
        held.callback(loop.close)
        saved, wanted = monotonic(), hosts.Vote(mesh)
        for batch in loop.remaining(n_threads, int(decoding * 2**30)):
            loop.step(batch)
            progress(order.n_seen(loop.n_done), len(source))
            late = hosts.is_first() and monotonic() - saved >= save_every
            now = wanted(_STOP if stop() else _SAVE if late else 0)
            if now >= _SAVE:
                loop.save()
                saved = monotonic()
            if now == _STOP:
                raise Stopped(f"stopped after {order.n_seen(loop.n_done)} of {counted(len(source), 'image')}")
        loop.save()
        hosts.once(loop.finish)
        if loop.changed:
            _warn_changed(loop.changed)
    return open_run(out)


def _warn_changed(found: list[Path]) -> None:
    """Tell of files that changed after they were read: the run is right, and whoever looks at them sees something else.

    Those that changed before never get this far.
    """
    warnings.warn(
        f"{counted(len(found), 'file')} of the data changed after being read, the first is {found[0]}; the run is of "
        f"what was read, and says so (state.changes).",
        stacklevel=3,
    )


_SAVE, _STOP = 1, 2


class _Pass:
    """A pass between two steps. The numbers of a batch are fetched while the device works on the next one."""

    def __init__(
        self,
        clip: Clip,
        source: Source,
        out: Path,
        options: PassOptions,
        order: Order,
        share: range,
        mesh: Mesh | None,
        listing: Listing,
        changes: list[dict[str, Any]],
    ):
        self.clip, self.source, self.out, self.options = clip, source, out, options
        self.listing, self._changes = listing, changes
        self.changed: list[Path] = []
        self.order, self.share, self.mesh, self.vision = order, share, mesh, clip.vision
        state = read_state(out, read_info(out))
        hosts.once(
            lambda: check_unchanged(out, {name: said for name, said in state.checksums.items() if name != IMAGES})
        )
        self.moments, self.n_done, self._saved = state.moments, state.n_batches, state.n_batches
        if mesh is not None:
            self.moments = place_moments(self.moments, mesh)
            self.vision = sharding.place_vision(clip.vision, mesh)
        self._pending: tuple[Batch, HeadState, jax.Array] | None = None
        self._bank, self._lines, self._new_lines = None, None, []
        if options.bank and self.n_done < order.n_steps:
            config, kinds = clip.config.vision, list(source.label_names)
            hosts.once(lambda: create_bank(out / BANK, config, order, kinds, options.bank_dtype))
            self._bank = BankWriter(out / BANK, order, share, config, kinds, self.n_done)
        hosts.once(lambda: self._open_lines(state))

    def _open_lines(self, state: State) -> None:
        if self.n_done < self.order.n_steps:
            self._checksums = fixed_checksums(self.out)
            self._lines = ImageLines(self.out, state.n_bytes, state.checksums.get(IMAGES))

    def remaining(self, n_threads: int | None, decoding: int) -> Iterator[Batch]:
        return batches(
            self.source, self.clip.config.preprocess, self.order, share=self.share, start=self.n_done,
            apply_exif=self.options.apply_exif, n_threads=n_threads, listing=self.listing, decoding=decoding,
        )  # fmt: skip

    def step(self, batch: Batch) -> None:
        labels = {by_key(kind): batch.labels[kind] for kind in self.options.by}
        inputs = batch.images, batch.weights, labels
        if self.mesh is not None:
            inputs = sharding.place_batch(inputs, self.mesh)
        self.moments, state, norm = step(self.moments, self.vision, *inputs, self.options.units, self.mesh)
        self._keep()
        self._pending = batch, state, norm
        self.n_done += 1

    def save(self) -> None:
        """Everything up to here is on the disk: rows and lines first, then the state that counts them."""
        self._keep()
        if self.n_done == self._saved:
            return
        self.listing.check_shared()
        if self._bank:
            self._bank.flush()
        # Nobody's lines arrive before its rows are on the disk.
        lines, self._new_lines = hosts.gather(b"".join(self._new_lines)), []
        arrays = {name: hosts.local(leaf) for name, leaf in to_arrays(self.moments).items()}
        hosts.once(lambda: self._write_state(b"".join(lines), arrays))
        self._saved = self.n_done

    def _write_state(self, lines: bytes, arrays: dict[str, Any]) -> None:
        if self._lines is None:
            raise RuntimeError("only the host that keeps the list of images writes the state.")
        for line in lines.splitlines(keepends=True):
            self._lines.add(line)
        ended = self.n_done == self.order.n_steps
        listed = self._lines.put_in_order() if ended else self._lines.sync()
        if ended and (found := self.listing.changed_since()):
            self.changed = found
            self._changes = [*self._changes, changed_after(self.n_done, found)]
        said = json.dumps(self._checksums | {IMAGES: listed}).encode()
        counters: dict[str, Any] = {"n_batches": np.int64(self.n_done), "n_bytes": np.int64(self._lines.n_bytes)}
        counters["changes"] = np.frombuffer(json.dumps(self._changes).encode(), np.uint8)
        counters["checksums"] = np.frombuffer(said, np.uint8)
        with replaced(self.out / STATE) as file:
            np.savez(file, **counters, **arrays)

    def finish(self) -> None:
        """Nothing is left to do."""
        self.close()
        for name in (LINES, STAMPS):
            (self.out / name).unlink(missing_ok=True)

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def _keep(self) -> None:
        if self._pending is None:
            return
        (batch, state, norm), self._pending = self._pending, None
        readable, norm = batch.weights > 0, hosts.local(norm)
        if (bad := np.flatnonzero(readable & ~(np.isfinite(norm) & (norm > 0)))).size:
            raise ValueError(explain_nonfinite(self.clip.vision, batch.images[bad[:1]], [batch.names[bad[0]]]))
        if self._bank:
            values = {name: hosts.local(own) for name, own in vars(state).items()}
            labels = {label_path(kind): own for kind, own in batch.labels.items()}
            self._bank.add(batch.rows, {**values, "norm": norm, "readable": readable, **labels})
        self._new_lines += [_line(batch, place) for place, row in enumerate(batch.rows) if row >= 0]


def _line(batch: Batch, place: int) -> bytes:
    labels = {kind: int(x[place]) for kind, x in batch.labels.items()}
    fields = {"row": int(batch.rows[place]), "name": batch.names[place], "labels": labels}
    if batch.errors[place] is not None:
        fields["error"] = batch.errors[place]
    return json.dumps(fields).encode() + b"\n"
