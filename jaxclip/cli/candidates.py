"""What may stand where somebody is typing: commands, arguments, and the words they take, from the commands' types."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tyro.conf import Positional

from jaxclip.cli.usage import summary

FIRST = {"--help": "what there is", "--version": "of jaxclip"}
EVERY = {
    "--help": "what it takes",
    "--json": "print the result on standard output",
    "--any-size": "read pictures of any number of pixels",
    "--debug": "show tracebacks",
}


@dataclass(frozen=True)
class Argument:
    """What may be typed for one argument of a command.

    Attributes:
      flags: empty for a positional argument.
      says: what it is.
      choices: empty where it is not one of a few words.
      files: whether the name of a file or folder may be meant.
      most: words it takes; None is any number.
    """

    flags: tuple[str, ...]
    says: str
    choices: tuple[str, ...]
    files: bool
    most: int | None

    @classmethod
    def of(cls, name: str, kind: Any, says: str) -> "Argument":
        """From a field and its annotation."""
        leaves, flag = set(_leaves(kind)), f"--{name.replace('_', '-')}"
        flags = (flag, f"--no-{flag[2:]}") if bool in leaves else (flag,)
        return cls(
            flags=() if Positional in getattr(kind, "__metadata__", ()) else flags,
            says=says,
            choices=tuple(leaf for leaf in _leaves(kind) if isinstance(leaf, str)),
            files=bool(leaves & {str, Path}),
            most=0 if bool in leaves else None if tuple in leaves else 1,
        )


def complete(words: Sequence[str], commands: Mapping[str, type]) -> dict[str, str] | None:
    """Candidates for the last word, each with what it is; None where the name of a file is wanted.

    Args:
      words: behind the program's name; the last is being typed, and may be empty.
    """
    *before, word = words or ("",)
    if not before:
        found = FIRST if word.startswith("-") else {name: summary(kind) for name, kind in commands.items()}
    elif before[0] not in commands:
        found = {}
    else:
        found = _inside(before[1:], word, _arguments(commands[before[0]]))
    return found if found is None else {name: says for name, says in found.items() if name.startswith(word)}


def _inside(before: list[str], word: str, arguments: list[Argument]) -> dict[str, str] | None:
    flags = {flag: argument for argument in arguments for flag in argument.flags}
    waiting, places = [], [argument for argument in arguments if not argument.flags]
    for typed in before:
        queue = waiting or places
        if typed.startswith("-"):
            waiting = [flags[typed]] if typed in flags and flags[typed].most != 0 else []
        elif queue and queue[0].most == 1:
            queue.pop(0)
    if word.startswith("-") or not (waiting or places):
        return {flag: argument.says for flag, argument in flags.items()} | EVERY
    wanted = (waiting or places)[0]
    return dict.fromkeys(wanted.choices, "") if wanted.choices or not wanted.files else None


def _arguments(kind: Any) -> list[Argument]:
    """Of a command, in order; what each is stands below its field."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    says = {
        field.target.id: " ".join(str(below.value.value).split())
        for field, below in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }  # fmt: skip
    hints = get_type_hints(kind, include_extras=True)
    return [Argument.of(field.name, hints[field.name], says.get(field.name, "")) for field in fields(kind)]


def _leaves(kind: Any) -> Iterator[Any]:
    """What a type is made of: classes, tuple for any number of them, and the words of its Literals."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)
        return
    if not get_args(kind):
        yield kind
    if get_origin(kind) is tuple:
        yield tuple
    for part in getattr(kind, "__args__", get_args(kind)):
        yield from _leaves(part)
