"""Which image a pass reads when: the same for any number of hosts, each of which has stretches of its own.

The data is cut into groups, a group into `parts` blocks of consecutive images. A step takes the next few images of
every block of a group, one block after another along the batch:

    batch 4, parts 2, blocks of 6     step 0: 0 1 | 6 7     step 1: 2 3 | 8 9     step 2: 4 5 | 10 11     step 3: 12 ..

Hosts share the parts out. So a host reads whole blocks and writes them alone, and a step computes the same whoever
takes part in it.
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxclip.numerics.arrays import counted

PARTS = 16
"""Most parts, if a pass is not told another number: as many hosts can share it."""


@dataclass(frozen=True)
class Order:
    """Steps of a pass.

    Attributes:
      n: images.
      batch: images of a step.
      parts: blocks of a group; divides the batch.
      steps: of a group.
    """

    n: int
    batch: int
    parts: int
    steps: int

    @classmethod
    def of(cls, n: int, batch: int, parts: int | None = None, most: int = 1) -> "Order":
        """Groups of equal size, so that little of the last one is padding.

        Args:
          n: images.
          batch: images of a step.
          parts: by default the largest number that divides both the batch and 16.
          most: steps of a group, at most.

        Raises:
          ValueError: the batch cannot be cut into so many parts.
        """
        parts = gcd(batch, PARTS) if parts is None else parts
        if parts < 1 or batch % parts:
            raise ValueError(f"a batch of {batch} cannot be cut into {parts} equal parts; pass parts that divide it.")
        n_groups = max(1, -(-n // (batch * most)))
        return cls(n, batch, parts, max(1, -(-n // (batch * n_groups))))

    @classmethod
    def of_info(cls, info: dict[str, Any]) -> "Order":
        """As run.json has it."""
        return cls(info["data"]["n_images"], info["options"]["batch"], **info["order"])

    @property
    def per_part(self) -> int:
        """Images of one part in one step."""
        return self.batch // self.parts

    @property
    def block(self) -> int:
        """Images of a block: rows of one file of a bank."""
        return self.steps * self.per_part

    @property
    def group(self) -> int:
        return self.steps * self.batch

    @property
    def n_steps(self) -> int:
        """Until all images are seen; what is left for the last group may fill some of its blocks only."""
        whole, rest = divmod(self.n, self.group)
        return whole * self.steps + -(-min(rest, self.block) // self.per_part)

    def n_seen(self, n_done: int) -> int:
        """Images in the first `n_done` steps."""
        whole, step = divmod(n_done, self.steps)
        left, each = max(0, self.n - whole * self.group), step * self.per_part
        n_full, rest = divmod(min(left, self.group), self.block)
        return min(whole * self.group, self.n) + n_full * each + min(rest, each)

    def share(self, host: int, n_hosts: int) -> range:
        """The parts of one host.

        Raises:
          ValueError: parts cannot be shared out equally.
        """
        if self.parts % n_hosts:
            fitting = ", ".join(str(k) for k in range(1, self.parts + 1) if self.parts % k == 0)
            raise ValueError(
                f"a pass of {counted(self.parts, 'part')} cannot be shared by {n_hosts} hosts, only by {fitting}; use "
                f"so many, or begin a new run with --parts {n_hosts} and a batch that is a multiple of it."
            )
        each = self.parts // n_hosts
        return range(host * each, (host + 1) * each)

    def rows(self, steps: range, share: range) -> Int[np.ndarray, "step place"]:
        """Numbers of the images of some steps and parts, -1 where there is none."""
        group, step = np.divmod(np.arange(steps.start, steps.stop)[:, None, None], self.steps)
        part, place = np.arange(share.start, share.stop)[:, None], np.arange(self.per_part)
        rows = (group * self.parts + part) * self.block + step * self.per_part + place
        return np.where(rows < self.n, rows, -1).reshape(len(steps), len(share) * self.per_part)
