"""JSON that somebody else wrote, read in this one way: whatever two readers could take differently is refused."""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxclip.files.plain import read_bytes

MAX_FILE = 16 * 2**20  # bytes; descriptions of models are a thousandth of that
MAX_LARGE = 64 * 2**20
"""Bytes of run.json, which names every class, and of results.json, which may list every image."""
MAX_DEPTH = 100
"""Lists in lists; deeper ones would end whoever walks through them, each at a depth of its own."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str | bytes, *, halves: bool = False, nan: bool = False) -> Any:
    """Parse a JSON text in UTF-8.

    Args:
      halves: names of files may stand in it, with bytes that are no text.
      nan: a number may be missing: NaN and infinities are read as None.

    Raises:
      ValueError: no JSON, nested too deeply, a name twice in one object, a number that no float holds, NaN (which is
        no JSON), or half a character, which could never be written to a file again.
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    try:
        value = json.loads(
            text, object_pairs_hook=_no_twins, parse_constant=_missing if nan else _refused, parse_float=_finite
        )
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(value)
        if not halves and _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character") from error
    return value


def parse_object(text: str | bytes, **options: bool) -> dict[str, Any]:
    """Parse a JSON text that must be an object.

    Raises:
      ValueError: as `parse_json`; or it is something else.
    """
    if not isinstance(value := parse_json(text, **options), dict):
        raise ValueError(f"expected a JSON object; got {type(value).__name__}")
    return value


def read_object(path: Path, remedy: str, most: int = MAX_FILE, *, nan: bool = False) -> dict[str, Any]:
    """Read the JSON object in a file.

    Args:
      path: of the file.
      remedy: what to do where it is none, after a semicolon.
      most: bytes that it may have.
      nan: as `parse_json` takes it.

    Raises:
      ValueError: it is no file, huge, no JSON, or no object.
    """
    content = read_bytes(path, most)
    try:
        value = parse_json(content, nan=nan)
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


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for one in level if isinstance(one, dict | list) for part in _parts(one)]
        if not level:
            return
    if any(isinstance(one, dict | list) for one in level):
        raise ValueError("it is nested too deeply")


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _missing(_word: str) -> None:
    return None


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits[:20]} is too large")
    return value
