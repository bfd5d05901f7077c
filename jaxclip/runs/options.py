"""What a pass does, and what that takes."""

from dataclasses import dataclass
from typing import get_args

import jax
from jax.sharding import Mesh

from jaxclip.config import VisionConfig
from jaxclip.data.source import Source, kinds_there
from jaxclip.devices import sharding
from jaxclip.runs.bank import BankDtype
from jaxclip.runs.bank_writer import steps_held
from jaxclip.runs.order import Order
from jaxclip.runs.size import Size, run_size
from jaxclip.runs.step import Units


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
      apply_exif: turn photographs as their EXIF tag says; CLIP's libraries do not.
      parts: of every batch, that hosts can share out; by default the largest number that divides both the batch and 16.
    """

    batch: int = 32
    moments: bool = True
    by: tuple[str, ...] = ()
    bank: bool = False
    bank_dtype: BankDtype = "float32"
    units: Units = "normalized"
    apply_exif: bool = False
    parts: int | None = None

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

    def order(self, config: VisionConfig, n: int) -> Order:
        """Which of n images are read when."""
        return Order.of(n, self.batch, self.parts, steps_held(config, self.batch))

    def check(self, source: Source) -> None:
        """Refuse kinds of label that a source does not have."""
        if missing := [kind for kind in self.by if not source.label_names.get(kind)]:
            there = kinds_there(source.label_names)
            raise ValueError(f"the data has no labels of kind {', '.join(missing)}; it has {there}.")

    def size(self, config: VisionConfig, source: Source, mesh: Mesh | None) -> Size:
        """What a pass over a source will keep."""
        return run_size(
            config, len(source), source.label_names, moments=self.moments, by=self.by, bank=self.bank,
            bank_dtype=self.bank_dtype, mesh=mesh,
        )  # fmt: skip

    def check_shared(self, config: VisionConfig, n: int, mesh: Mesh | None) -> tuple[Order, range]:
        """The order of n images and this host's share of it; refuses what devices and hosts cannot share out."""
        order = self.order(config, n)
        if mesh is not None:
            sharding.check(mesh.shape, config, self.batch)
        return order, order.share(jax.process_index(), jax.process_count())
