"""What the library says of its arguments, in the words that are typed: `--way classes` for way='classes'."""

import ast
import re
import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from tyro.conf import Positional

VALUE = r"""'[^']*'|"[^"]*"|\([^)]*\)|\.\.\.|[\w-]+(?:\.\w+)*|"""


def as_typed(message: str, kind: type, beside: Mapping[type, str]) -> str:
    """A message with a command's arguments as they are typed.

    Args:
      message: of an error of the library, whose arguments have the names of the command's options.
      kind: of the command.
      beside: other commands whose options it may speak of, each with what is then added.
    """
    own = options(kind)
    said = _spelled(message, own)
    for other, added in beside.items():
        spelled = _keywords(said, {name: flag for name, flag in options(other).items() if name not in own})
        said = said if spelled == said else spelled + added
    return said


def noted(message: str, kind: type) -> str:
    """A warning as it concerns who types: sentences about arguments that the command lacks are left out."""
    said = [_spelled(sentence, options(kind)) for sentence in re.split(r"(?<=\.) (?=[A-Z])", message)]
    return " ".join(sentence for sentence in said if not re.search(r"(?<![^\s(])[a-z_]+=\w", sentence))


def options(kind: Any) -> dict[str, str]:
    """Names of a command's options in Python -> as they are typed."""
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind) if Positional not in getattr(hints[field.name], "__metadata__", ())]
    found = {name: f"--{name.replace('_', '-')}" for name in names}
    # The library's meshes call their axis so, and there a model is something else.
    return {"model": "--model-axis"} | found if "model_axis" in found else found


def _spelled(message: str, known: Mapping[str, str]) -> str:
    if not known:
        return message
    said = _keywords(message, known)
    names = "|".join(map(re.escape, known))
    # Where a name stands for the argument and is no word of a sentence.
    must, left = rf"^({names})(?= must\b)", rf"(?<=\b[Ll]eave out )({names})(?=[.,;])"
    passed, under = rf"(?<=\b[Pp]ass )({names})(?=[.,;]| as well| that)", rf"(?<=\bas )({names})(?=[.,;]| \()"
    for place in (must, left, passed, under):
        said = re.sub(place, lambda found: known[found[0]], said)
    long = [name for name in known if "_" in name]
    asked = r"(?:^|(?<=\bpass )|(?<=\bsmaller ))"
    return re.sub(rf"{asked}(?:{'|'.join(long)})\b", lambda found: known[found[0]], said) if long else said


def _keywords(message: str, known: Mapping[str, str]) -> str:
    """name=value."""
    names = "|".join(map(re.escape, known))
    pattern = re.compile(rf"(?<![^\s(])({names})=({VALUE})")
    return pattern.sub(lambda found: _option(known[found[1]], found[2]), message)


def _option(flag: str, value: str) -> str:
    """A flag with its value as a shell takes it."""
    try:
        read = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        read = value
    if isinstance(read, bool):
        return flag if read else f"--no-{flag[2:]}"
    words = read if isinstance(read, tuple | list) else [read]
    return " ".join([flag, *("..." if word is ... else shlex.quote(str(word)) for word in words if word != "")])
