"""Tables that scripts write into pages: the lines between `<!-- NAME -->` and `<!-- /NAME -->`."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; every column but the first is set to the right where all its cells begin with a digit."""
    rows = [list(row) for row in rows]
    numeric = [all(row[i][:1].isdigit() for row in rows) for i in range(len(columns))]
    rule = ["---:" if number and i else "---" for i, number in enumerate(numeric)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(columns), rule, *rows])


def fill(page: str | Path, name: str, text: str) -> None:
    """Put a text between the marks of that name.

    Raises:
      ValueError: the page has no such marks, or has them twice.
    """
    path = ROOT / page
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    filled, n = pattern.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", path.read_text(encoding="utf-8"))
    if n != 1:
        raise ValueError(f"{page} needs one <!-- {name} --> with its <!-- /{name} -->; it has {n}.")
    path.write_text(filled, encoding="utf-8")


def filled(page: str | Path, name: str) -> str:
    """What stands between the marks of that name now."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n\n(.*?)\n\n<!-- /{name} -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"{page} has no <!-- {name} --> with something in it.")
    return found[1]
