"""A run's folder from the reading side."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxclip.config import ClipConfig
from jaxclip.data.source import UNLABELLED
from jaxclip.files.array_files import read_array
from jaxclip.files.plain import is_there, read_bytes
from jaxclip.model.components import Components
from jaxclip.model.head_coordinates import HeadState
from jaxclip.numerics.arrays import counted
from jaxclip.numerics.own_terms import nan_is_a_value, on_own_terms
from jaxclip.runs.bank import Bank, label_path, row_shapes
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.folder import BANK, IMAGES, LINES, MATRICES, RUN, check_unchanged, damaged, read_info
from jaxclip.runs.image_list import read_image_lines
from jaxclip.runs.order import Order
from jaxclip.runs.state import ALL, State, by_key, read_state


@dataclass(frozen=True)
class Run:
    """What a pass left behind; files are read when they are asked for.

    An image has one number, from 0 in the data's order: it is its `row` in images.jsonl, what `jaxclip retrieve RUN N`
    takes, its place in `names`, in `labels` and in every array of the bank. Images that could not be read keep theirs:
    their terms are NaN, and `rows` leaves them out.

    Attributes:
      folder: where it is.
      info: run.json.
    """

    folder: Path
    info: dict[str, Any]

    def __repr__(self) -> str:
        """What there is to ask it for."""
        left = [name for name, there in (("moments", self.has_moments), ("bank", self.has_bank)) if there]
        said = [self.info["model"]["name"], ", ".join(left), f"labels: {', '.join(self.label_names) or 'none'}"]
        return f"Run({str(self.folder)!r}: {counted(self.n_images, 'image')}; {'; '.join(said)})"

    @cached_property
    def state(self) -> State:
        """How far it is, and its moments.

        Raises:
          ValueError: the file is damaged.
        """
        return read_state(self.folder, self.info)

    @property
    def has_bank(self) -> bool:
        """Whether every image's terms are stored."""
        return (self.folder / BANK).is_dir()

    @property
    def has_moments(self) -> bool:
        """Whether moments are collected."""
        return self.info["options"]["moments"]

    @property
    def config(self) -> ClipConfig:
        return ClipConfig.from_dict(self.info["model"]["config"])

    @property
    def is_finished(self) -> bool:
        return self.state.n_batches >= Order.of_info(self.info).n_steps

    @property
    def n_images(self) -> int:
        """That could be read."""
        return len(self.rows)

    @property
    def units(self) -> str:
        """ "normalized" if components are divided by the norm of their image's embedding, else "raw"."""
        return self.info["options"]["units"]

    @property
    def label_names(self) -> dict[str, tuple[str, ...]]:
        """Kind of label -> names of its values."""
        return {kind: tuple(names) for kind, names in self.info["data"]["label_names"].items()}

    @cached_property
    def names(self) -> list[str]:
        """Of every image of the data: its path, or what tells it apart.

        An unfinished pass has some up to the last that it came to, and "" for what it left out on the way.
        """
        names = [""] * self._n_rows
        for line in self._lines:
            names[line["row"]] = line["name"]
        return names

    @cached_property
    def rows(self) -> Int[np.ndarray, "readable"]:
        """Numbers of the images that could be read."""
        return np.array([line["row"] for line in self._lines if "error" not in line], np.int64)

    @cached_property
    def labels(self) -> dict[str, Int[np.ndarray, "image"]]:
        """Kind of label -> an index into its names for every image of the data, read or not, -1 where it has none.

        `labelled` says which of them there is something to compare with.
        """
        held = {kind: np.full(self._n_rows, UNLABELLED, np.int32) for kind in self.label_names}
        for line in self._lines:
            for kind, values in held.items():
                values[line["row"]] = line["labels"][kind]
        return held

    def labelled(self, *kinds: str) -> Int[np.ndarray, "some"]:
        """Numbers of the images that could be read and have a label of each of these kinds."""
        return self.rows[np.all([self.labels[kind][self.rows] >= 0 for kind in kinds] or [self.rows >= 0], axis=0)]

    @cached_property
    def errors(self) -> dict[int, str]:
        """Number -> the reason, of the images that could not be read."""
        return {line["row"]: line["error"] for line in self._lines if "error" in line}

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Names of the images that could not be read, each with the reason."""
        return [(self.names[row], reason) for row, reason in self.errors.items()]

    def check_readable(self, rows: Int[np.ndarray, "some"]) -> None:
        """Refuse numbers of images that could not be read: what they are part of would be NaN.

        Raises:
          ValueError: the first of them, with its reason.
        """
        if wrong := sorted(self.errors.keys() & set(np.asarray(rows).tolist())):
            raise ValueError(
                f"image {wrong[0]} of {self.folder}, {self.names[wrong[0]]}, could not be read "
                f"({self.errors[wrong[0]]}); take numbers from run.rows, or from run.labelled for those with a label."
            )

    @cached_property
    @on_own_terms
    def matrices(self) -> Float[Array, "layer head unit embed"]:
        """u @ matrices[layer, head] is what a head contributes.

        Raises:
          ValueError: the file is damaged.
        """
        self._check(MATRICES)
        return jnp.asarray(read_array(self.folder / MATRICES))

    @property
    @on_own_terms
    def moments(self) -> Collected:
        """Of all images; heads have their basis.

        Raises:
          ValueError: the run collected none.
        """
        self.need(moments=True)
        return self.state.moments[ALL].with_matrices(self.matrices)

    def need(self, *, moments: bool = False, bank: bool = False) -> None:
        """Refuse a run without what is needed, before anything of it is read.

        Raises:
          ValueError, FileNotFoundError: it was not collected.
        """
        if moments and not self.has_moments:
            raise ValueError(f"{self.folder} has no moments; run the pass again, with moments.")
        if bank and not self.has_bank:
            raise FileNotFoundError(f"{self.folder / BANK} is no bank; run `jaxclip run` with --bank.")

    @on_own_terms
    def moments_by(self, kind: str, value: str | int) -> Collected:
        """Of the images with one value of a label, by its name or index.

        Raises:
          ValueError: the run did not collect them, or there is no such value.
        """
        if by_key(kind) not in self.state.moments:
            there = ", ".join(self.info["options"]["by"]) or "none"
            raise ValueError(f"{self.folder} has moments by {there}, not by {kind!r}; run the pass with by={kind!r}.")
        names = self.label_names[kind]
        if value not in names and value not in range(len(names)):
            raise ValueError(f"{kind} has the values {', '.join(names[:20])}; got {value!r}.")
        index = names.index(value) if isinstance(value, str) else value
        return self.state.moments[by_key(kind)].value(index).with_matrices(self.matrices)

    @on_own_terms
    def means(self) -> Components:
        """Of every term over all images: what mean-ablation puts in its place."""
        moments = self.moments
        return Components(moments.init.mean, moments.heads.mean, moments.mlp.mean, class_attn=moments.class_attn.mean)

    @cached_property
    def bank(self) -> Bank:
        """What every image left behind.

        Raises:
          FileNotFoundError: the run kept no bank.
          ValueError: it is damaged, or not the bank of these images.
        """
        n = self.info["data"]["n_images"]
        shapes = {name: (n, *shape) for name, shape in row_shapes(self.config.vision).items()}
        shapes |= {"readable": (n,)} | {label_path(kind): (n,) for kind in self.label_names}
        block = Order.of_info(self.info).block
        bank = Bank(self.folder / BANK, check=self._check, shapes=shapes, block=block)
        if not self.is_finished:  # rows may be ahead of the state that counts them
            bank.seen = np.array([line["row"] for line in self._lines], np.int64)
            bank.rows = bank.rows[np.isin(bank.rows, self.rows)]
        if not np.array_equal(bank.rows, self.rows):
            raise ValueError(
                f"{bank.folder / 'readable'} is cut short or of another run; delete the run and make it again."
            )
        return bank

    @on_own_terms
    @nan_is_a_value
    def head_state(self, rows: Int[np.ndarray, "image"] | slice = slice(None)) -> HeadState:
        """Images by their numbers as a pass saw them, in the run's units; NaN where one could not be read."""
        fields = ("embedding", "heads", "mlp", "init", "class_attn")
        return HeadState(*(jnp.asarray(self.bank.read(name, rows)) for name in fields))

    @cached_property
    def _lines(self) -> list[dict[str, Any]]:
        path = self.folder / (IMAGES if self.is_finished else LINES)
        text = read_bytes(path)[: self.state.n_bytes] if is_there(path) else b""
        if len(text) < self.state.n_bytes:
            raise ValueError(f"{path} was cut short; delete {self.folder} and run it again.")
        if text and hashlib.sha256(text).hexdigest() != self.state.checksums[IMAGES]:
            raise ValueError(damaged(self.folder, path.name))
        n_images, n_seen = self.info["data"]["n_images"], Order.of_info(self.info).n_seen(self.state.n_batches)
        try:
            return read_image_lines(text, n_images, n_seen, self.label_names)
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); delete {self.folder} and run it again.") from error

    @property
    def _n_rows(self) -> int:
        return self._lines[-1]["row"] + 1 if self._lines else 0

    def _check(self, name: str) -> None:
        check_unchanged(self.folder, {name: self.state.checksums.get(name, "")} if self.state.n_batches else {})


def open_run(folder: str | Path, *, unfinished: bool = False) -> Run:
    """What `jaxclip run` left in a folder.

    Args:
      folder: its --out.
      unfinished: open it as far as it is.

    Raises:
      FileNotFoundError: there is no run.
      ValueError: it is not finished, damaged, or none of its images could be read.
    """
    run = find_run(folder)
    folder, info = run.folder, run.info
    seen, n = Order.of_info(info).n_seen(run.state.n_batches), info["data"]["n_images"]
    if seen < n and not unfinished:
        raise ValueError(f"{folder} has seen {seen} of {counted(n, 'image')}; run the same command again to finish it.")
    if seen and not len(run.rows):
        name, reason = run.unreadable[0]
        raise ValueError(f"no image could be read, of {counted(seen, 'image')}; the first is {name}: {reason}")
    return run


def find_run(folder: str | Path) -> Run:
    """A run of which nothing but run.json is read yet: its model's config, its options, its kinds of label.

    Raises:
      FileNotFoundError: there is no run.
      ValueError: run.json is damaged.
    """
    folder = Path(folder).absolute()
    if not is_there(folder / RUN):
        raise FileNotFoundError(f"{folder} is no run: it has no {RUN}. Make one with `jaxclip run MODEL DATA --out`.")
    return Run(folder, read_info(folder))
