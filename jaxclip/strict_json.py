"""JSON that somebody else wrote: whatever two readers could take differently is refused."""

import json
import math
import os
import re
from pathlib import Path
from typing import Any

from jaxclip.plain_files import open_plain

MAX_FILE = 16 * 2**20  # bytes; descriptions of models and runs are a thousandth of that
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
      ValueError: no JSON, nested too deeply, a name twice in one object, a number that no float holds, NaN (which is
        no JSON), or half a character, which could never be written to a file again.
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    try:
        value = json.loads(text, object_pairs_hook=_no_twins, parse_constant=_refused, parse_float=_finite)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character") from error
    return value


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
      path: of the file.
      remedy: what to do where it is none, after a semicolon.

    Raises:
      ValueError: it is no file, huge, no JSON, or no object.
    """
    with open_plain(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_FILE:
            raise ValueError(f"{path} is {size} bytes, expected a short description; {remedy}.")
        content = file.read(size)
    try:
        value = parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error!s:.200}); {remedy}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object; got {type(value).__name__}; {remedy}.")
    return value


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits[:20]} is too large")
    return value
