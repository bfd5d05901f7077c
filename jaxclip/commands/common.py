"""What commands share: where "scenes" is, where words and results go."""

import json
import sys
from pathlib import Path
from typing import Any, Literal

DType = Literal["float32", "bfloat16", "float16"]


class Failed(Exception):
    """A command that ran to its end and found something wrong; `result` is still worth printing."""

    def __init__(self, message: str, result: dict[str, Any]):
        super().__init__(message)
        self.result = result


def resolve(source: str) -> str:
    """ "scenes" is the shipped checkpoint, unless something of that name lies here."""
    if source == "scenes" and not Path(source).exists():
        from jaxclip.data.scenes import CHECKPOINT

        return str(CHECKPOINT)
    return source


def say(text: str) -> None:
    """For people; standard output is kept for results."""
    print(text, file=sys.stderr, flush=True)


def write_json(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
