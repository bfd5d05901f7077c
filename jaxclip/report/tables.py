"""Tables for the terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxclip.files.printable import printable
from jaxclip.verify import Check

WIDE = 1000
"""Columns of a line where no terminal says how many there are."""


def print_checks(checks: Sequence[Check], title: str) -> None:
    """Largest errors beside what is allowed."""
    said = "largest error, relative to the embedding's norm where no unit stands"
    table = Table(title=plain_text(f"{title}: {said}"), title_justify="left")
    table.add_column("check")
    table.add_column("error", justify="right")
    table.add_column("allowed", justify="right")
    table.add_column("")
    for check in checks:
        verdict = "[green]holds[/]" if check.holds else "[bold red]BROKEN[/]"
        error = f"{check.error:.0f}" if check.unit == "texts" else f"{check.error:.1e}"
        allowed = "0" if check.unit == "texts" else f"{check.tolerance:.0e}"
        table.add_row(plain_text(check.what), f"{error} {check.unit}".strip(), allowed, verdict)
    print_table(table)


def print_numbers(title: str, rows: Mapping[str, Sequence[str]], columns: Sequence[str]) -> None:
    """Rows of formatted numbers under their names."""
    table = Table(title=plain_text(title), title_justify="left")
    table.add_column(plain_text(columns[0]))
    for column in columns[1:]:
        table.add_column(plain_text(column), justify="right")
    for name, cells in rows.items():
        table.add_row(*map(plain_text, (name, *cells)))
    print_table(table)


def plain_text(text: str) -> Text:
    """What users write is no markup, whatever brackets it has, and no control of the terminal."""
    return Text(printable(text))


def print_table(table: Table) -> None:
    """A frame and colours in a terminal; in a file or a pipe plain columns, however wide, that grep can read."""
    console = Console(stderr=True)
    if console.is_terminal:
        console.print(table)
        return
    plain = Console(stderr=True, width=WIDE, no_color=True, highlight=False)
    plain.print(table.title)
    table.title, table.box, table.header_style = None, None, ""
    plain.print(table)
