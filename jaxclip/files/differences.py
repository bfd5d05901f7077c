"""What differs between two values of JSON, told in few words."""

import json
from collections.abc import Iterator
from typing import Any


def differences(one: Any, other: Any, path: str = "", between: str = "was {} and is {}") -> Iterator[str]:
    """List what differs between two values of JSON, each difference with where it is."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{path}.{key}" if path else key, between)
    elif one != other:
        yield f"{path} {between.format(*_short(one, other))}"


def _short(one: Any, other: Any) -> list[str]:
    """Both in few words; where they begin alike for long, by where they part."""
    texts = [json.dumps(value, ensure_ascii=False) for value in (one, other)]
    alike = next((place for place, (x, y) in enumerate(zip(*texts, strict=False)) if x != y), min(map(len, texts)))
    cut = [f"...{text[alike - 10 :]}" if alike > 20 else text for text in texts]
    return [text if len(text) <= 40 else f"{text[:30]}..." for text in cut]
