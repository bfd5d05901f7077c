"""Tables and lists of paths and labels, as text files have them."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from jaxclip.data.label_order import whole
from jaxclip.files.plain import read_bytes

PATH_COLUMNS = (
    "path", "image", "file", "filename", "file_name", "img_filename", "image_path", "filepath", "file_path", "img_path",
    "img", "image_name",
)  # fmt: skip
Rows = tuple[list[str], list[dict[str, str]]]


def path_column(header: Sequence[str]) -> str | None:
    """The column that holds paths, however its name is written ("File Name")."""
    plain = {re.sub(r"[ -]+", "_", name.strip().lower()): name for name in reversed(header)}
    return next((plain[name] for name in PATH_COLUMNS if name in plain), None)


def read_table(path: Path) -> Rows:
    """Header and rows of a table whose columns are parted by commas, semicolons, tabs or bars, whichever its header
    has most of; a .tsv by tabs. A column without a name, such as the running number of pandas, is left out.

    Raises:
      ValueError: no header, a column twice, or rows of another length.
    """
    text, delimiter = _parted(read_text(path), path.suffix.lower())
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=delimiter != "\t")
        try:
            header, rows = [name.strip() for name in reader.fieldnames or ()], list(reader)
        except csv.Error as error:  # a field of more than 131,072 characters, which is no path and no label
            raise ValueError(f"{path}, line {reader.line_num}, is no table of paths and labels ({error}).") from error
    if twice := {name for name in header if name and header.count(name) > 1}:
        raise ValueError(f"{path} has the column {min(twice)!r} more than once; remove one.")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ValueError(f"{path}, row {number}, has another number of columns than the header's {len(header)}.")
    rows = [{name.strip(): value for name, value in row.items() if name.strip()} for row in rows]
    return [name for name in header if name], rows


def read_list(path: Path) -> Rows:
    """Header and rows of a .txt: a table if its first line is a header that names a column of paths, else a path a
    line, alone or with a label behind a tab, a comma, a semicolon or, if it is a whole number, a space."""
    lines = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    first = _parted(lines[0], "")[1] if lines else ","
    if lines and first in lines[0] and path_column(lines[0].split(first)):
        return read_table(path)
    pairs = [_path_and_label(path.parent, line) for line in lines]
    if not any(label for _, label in pairs):
        return ["path"], [{"path": name} for name, _ in pairs]
    return ["path", "label"], [{"path": name, "label": label} for name, label in pairs]


def _path_and_label(folder: Path, line: str) -> tuple[str, str]:
    if "\t" in line:
        name, label = line.split("\t", 1)
        return name.strip(), label.strip()
    name, _, last = line.rpartition(" ")
    if name and whole(last) is not None and not there(folder / line):
        return name.strip().rstrip(",;"), last
    for mark in ",;":
        name, _, last = line.rpartition(mark)
        if name and there(folder / name.strip()) and not there(folder / line):
            return name.strip(), last.strip()
    return line, ""


def _parted(text: str, suffix: str) -> tuple[str, str]:
    """A table's text without Excel's line "sep=;", and what its columns are parted by."""
    first, _, rest = text.partition("\n")
    if told := re.fullmatch(r'"?sep=(.)"?\r?', first):
        return rest, told[1]
    if suffix == ".tsv":
        return text, "\t"
    unquoted = re.sub(r'"[^"]*"', "", first)
    return text, max(",;\t|", key=unquoted.count)


def read_text(path: Path) -> str:
    """A text file in UTF-8.

    Raises:
      ValueError: it is no such text.
    """
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error


def there(path: Path) -> bool:
    """Tell whether there is such a file; a name can be one that no file can have: too long, or with a zero byte."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
