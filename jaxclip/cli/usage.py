"""Arguments into a command, its help, and what is wrong with arguments in one line."""

import contextlib
import difflib
import inspect
import io
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

import tyro

from jaxclip.cli.optional import REGISTRY

Command = TypeVar("Command")

EVERY = """every command:
  --json      print the result on standard output, for scripts
  --any-size  read pictures of any number of pixels: of those that you trust
  --debug     show tracebacks
"""


class UsageError(Exception):
    """Arguments that make no command."""


def about(kind: type) -> tuple[str, str]:
    """What a command does, and its example, word for word: the paragraphs of its docstring."""
    purpose, _, example = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")
    return " ".join(purpose.split()), example


def summary(kind: type) -> str:
    """What a command does, up to its first stop."""
    return re.split(r"[.:;](?:\s|$)", about(kind)[0])[0]


def closest(word: str, words: Iterable[str]) -> str:
    """A question that may help, or nothing."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]}?" if near else "."


def parse(name: str, kind: type[Command], arguments: Sequence[str]) -> Command:
    """A command from its arguments.

    Raises:
      UsageError: arguments that are missing, unknown, or not of the type or choice they should be.
      SystemExit: help was asked for and printed.
    """
    purpose, example = about(kind)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            prog = f"jaxclip {name}"
            return tyro.cli(kind, prog=prog, description=purpose, args=list(arguments), registry=REGISTRY)
    except SystemExit as stop:
        if not stop.code:
            sys.stdout.write(f"\nexample:\n{_indented(example)}\n\n{EVERY}")
            raise
    raise UsageError(f"{name}: {complaint(said.getvalue())} `jaxclip {name} --help` shows what it takes.")


def complaint(box: str) -> str:
    """One line from the framed paragraphs that tyro writes; what is not known is passed on without the frame."""
    rows = [row[2:].rstrip("│╮╯ ") for row in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    parts = [part for part in re.split(r"^[─-]{4,}$", "\n".join(rows[1:]), flags=re.MULTILINE) if part.strip()]
    said, more = (" ".join(text.split()) for text in (parts[0] if parts else box, "".join(parts[1:])))
    if found := re.match(r"invalid choice (.+) for argument '(.+)'\. Expected one of \((.+)\)", said):
        came, option, choices = found.groups()
        names = sorted(re.findall(r"'([^']*)'", choices))
        return f"{option} must be one of {', '.join(names)}; got {came}."
    if found := re.match(r"Error parsing (\S+): .*?(?:'([^']*)'|\['(.*?)'\])", said):
        option, came = found[1], found[2] or found[3]
        kinds = re.search(rf"^ *{re.escape(option)} (.+)$", "\n".join(parts[1:]), re.MULTILINE)
        return f"{option} takes {kinds[1] if kinds else 'something else'}; got {came!r}."
    if found := re.match(r"Unrecognized options: ([^,\s]+)", said):
        meant = re.search(r"Perhaps you meant: (--\S+)", more)
        return f"there is no argument {found[1]}{f'; did you mean {meant[1]}?' if meant else '.'}"
    if said.startswith("Missing from"):
        names = re.findall(r"^ {4}(\S.*)$", parts[0], re.MULTILINE)
        return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} missing."
    return said


def _indented(example: str) -> str:
    return "\n".join(f"  {line}" for line in example.splitlines())
