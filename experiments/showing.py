"""What scripts show: numbers in columns on standard error, and figures as files."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

BLUE, GREY = "#4477aa", "#bbbbbb"


def say(text: str) -> None:
    """Print a line for people; standard output is kept for results."""
    print(text, file=sys.stderr, flush=True)


def print_numbers(title: str, rows: Mapping[str, Sequence[str]], columns: Sequence[str]) -> None:
    """Print rows of formatted numbers under their names, the first column to the left, the others to the right."""
    table = [list(columns), *([name, *cells] for name, cells in rows.items())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    say(title)
    for first, *others in table:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        say("  ".join(cells).rstrip())


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by its suffix, without the day: the same figure is the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=300, metadata={"Date": None} if path.suffix == ".svg" else None)
