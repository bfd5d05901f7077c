"""Hugging Face's imagefolder: images with a table beside them, metadata.csv or metadata.jsonl."""

import os
from pathlib import Path
from typing import Any

from jaxclip.data.image_folders import Files, listed
from jaxclip.data.tables import path_column, read_table, read_text
from jaxclip.data.walk import images_below
from jaxclip.files.plain import is_there
from jaxclip.files.strict_json import parse_json
from jaxclip.numerics.arrays import counted

TABLES = ("metadata.csv", "metadata.jsonl")


class ImageFolder(Files):
    """Images that metadata.csv or metadata.jsonl names in its column file_name; its other columns are kinds of label,
    but for those that hold lists or objects."""

    kind = "imagefolder"

    def __init__(self, root: Path):
        table = next((root / name for name in TABLES if is_there(root / name)), None)
        if table is None:
            raise ValueError(f"{root} is no imagefolder: it has no {' and no '.join(TABLES)}.")
        header, rows, dropped = (*read_table(table), []) if table.suffix == ".csv" else _json_lines(table)
        files, labels = listed(table, header, rows)
        there, others = images_below(root)
        unnamed = set(there) - {Path(os.path.normpath(file)).as_posix() for file in files}
        others[table.suffix] -= 1  # the table itself
        super().__init__(root, files, labels, +others)
        if n := len(unnamed):
            self.left_out += (f"{counted(n, 'image')} that {table.name} does not name",)
        if dropped:
            self.left_out += (f"columns of {table.name} that hold more than a word: {', '.join(dropped)}",)


def is_imagefolder(root: Path) -> bool:
    """Tell whether a folder has such a table; Waterbirds' metadata.csv is another."""
    if is_there(root / TABLES[0]):
        header = read_table(root / TABLES[0])[0]
        return "img_filename" not in header and path_column(header) is not None
    return is_there(root / TABLES[1])


def _json_lines(path: Path) -> tuple[list[str], list[dict[str, str]], list[str]]:
    """Header and rows, and the columns that are left out."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            try:
                row = parse_json(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}, is no JSON ({error}).") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}, must be a JSON object; got {line[:40]}.")
            rows.append(row)
    header = list(dict.fromkeys(name for row in rows for name in row))
    dropped = [name for name in header if any(isinstance(row.get(name), (list, dict)) for row in rows)]
    header = [name for name in header if name not in dropped]
    return header, [{name: "" if row.get(name) is None else str(row[name]) for name in header} for row in rows], dropped
