"""Where the patches are among the tokens of an image."""

from dataclasses import dataclass
from math import isqrt
from typing import Any

from jaxclip.config import N_PREFIX, VisionConfig
from jaxclip.numerics.arrays import counted


@dataclass(frozen=True)
class TokenGrid:
    """The tokens of an image: a few that stand for no place (the class token), then the patches, row by row.

    Attributes:
      n_prefix: tokens before the patches.
      grid: patches down and across.
    """

    n_prefix: int
    grid: tuple[int, int]

    @classmethod
    def of(cls, config: VisionConfig) -> "TokenGrid":
        """Lay out the tokens of a tower."""
        return cls(config.n_prefix, config.grid)

    @classmethod
    def square(cls, n_tokens: int) -> "TokenGrid | None":
        """Lay out so many tokens with as many patches down as across; None where their number allows no such grid."""
        side = isqrt(max(n_tokens - N_PREFIX, 0))
        grid = cls(N_PREFIX, (side, side))
        return grid if side and grid.n_tokens == n_tokens else None

    @property
    def n_tokens(self) -> int:
        return self.n_prefix + self.grid[0] * self.grid[1]

    def patches(self, tokens: Any, axis: int = -1) -> Any:
        """Drop the tokens that stand for no place; `axis` is that of the tokens."""
        return tokens[(slice(None),) * (axis % tokens.ndim) + (slice(self.n_prefix, None),)]

    def to_grid(self, tokens: Any) -> Any:
        """Arrange values of tokens, `[... token]`, as those of patches, `[... row column]`.

        Raises:
          ValueError: another number of tokens than the grid has patches and there are before them.
        """
        down, across = self.grid
        if tokens.shape[-1] != self.n_tokens:
            raise ValueError(
                f"a grid of {down} x {across} patches with {self.n_prefix} before them makes "
                f"{counted(self.n_tokens, 'token')}; got {tokens.shape[-1]}. Maps and grid must "
                f"come from one model at one image size."
            )
        return self.patches(tokens).reshape(*tokens.shape[:-1], *self.grid)
