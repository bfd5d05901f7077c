"""The search for the largest batch that fits, in few compilations."""

from collections.abc import Callable
from math import isqrt

TRIES = 8
"""Programs compiled at most to find the largest batch."""


def largest_batch(
    peak: Callable[[int], int | None], start: int, unit: int, limit: int, tries: int = TRIES
) -> tuple[int | None, int | None]:
    """Find the largest batch that fits, to a sixteenth of itself or one `unit`, or as near as `tries` compilations get.

    Args:
      peak: bytes of a batch, None where it does not fit.
      start: where to begin; a multiple of `unit`.
      unit: batches are multiples of it.
      limit: bytes there are, to guess by: a step's memory is nearly a straight line over its batch.

    Returns:
      The largest found to fit and the smallest found not to; None where there is none.
    """
    held: dict[int, int] = {}
    fails: int | None = None
    n = start // unit
    for _ in range(tries):
        if (needed := peak(n * unit)) is None:
            fails = n
        else:
            held[n] = needed
        fits = max(held, default=0)
        if fails and fails - fits <= max(1, fits // 16):
            break
        n = _next(held, fails, limit)
    return max(held) * unit if held else None, fails * unit if fails else None


def _next(held: dict[int, int], fails: int | None, limit: int) -> int:
    if not held:
        return max(1, (fails or 0) // 4)
    fits = max(held)
    guess = 4 * fits
    if len(held) > 1:
        before, last = sorted(held)[-2:]
        slope = max(held[last] - held[before], 1) / (last - before)
        # Of small batches memory hardly grows, and says nothing of large ones.
        guess = min(last + int((limit - held[last]) / slope), 16 * fits)
    step = max(1, fits // 16)
    if fails is None:
        # At least so much more that, should it not fit, the search is over.
        return max(guess, fits + step)
    return guess if fits + step <= guess < fails else max(fits + 1, isqrt(fits * fails))
