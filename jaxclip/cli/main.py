"""The command line: arguments in, library calls, files out. Commands stand in the order one would use them."""

import atexit
import gc
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from jaxclip import __version__
from jaxclip.cli.candidates import complete
from jaxclip.cli.checks import Failed, say
from jaxclip.cli.commands.ablate import Ablate
from jaxclip.cli.commands.completion import Completion
from jaxclip.cli.commands.debias import Debias
from jaxclip.cli.commands.demo import Demo
from jaxclip.cli.commands.heatmap import Heatmap
from jaxclip.cli.commands.model import Convert, Decompose, Verify
from jaxclip.cli.commands.plan import Plan
from jaxclip.cli.commands.report import Report
from jaxclip.cli.commands.retrieve import Retrieve
from jaxclip.cli.commands.run import Run
from jaxclip.cli.commands.segment import Segment
from jaxclip.cli.commands.textspan import TextSpan
from jaxclip.cli.surroundings import check_platform, surroundings
from jaxclip.cli.typed import as_typed, noted
from jaxclip.cli.usage import UsageError, closest, parse, summary

GROUPS: dict[str, dict[str, Any]] = {
    "a model": {"convert": Convert, "verify": Verify},
    "your pictures": {"decompose": Decompose, "heatmap": Heatmap},
    "a data set, in one pass": {"run": Run},
    "what the pass says": {"textspan": TextSpan, "ablate": Ablate, "debias": Debias, "retrieve": Retrieve},
    "masks": {"segment": Segment},
    "to show, and to plan": {"report": Report, "plan": Plan},
    "to begin with": {"demo": Demo, "completion": Completion},
}
COMMANDS = {name: kind for group in GROUPS.values() for name, kind in group.items()}
BESIDE = {
    Convert: " `jaxclip convert` has these options: convert it first, and name the folder that it wrote.",
    Run: "",
}

MEMORY = re.compile(r"RESOURCE_EXHAUSTED|std::bad_alloc|out of memory|cannot allocate memory", re.IGNORECASE)
"""What libraries say when memory runs out, those that have no MemoryError."""


def overview() -> str:
    """What there is, at a glance."""
    lines = ["usage: jaxclip COMMAND ...", "", "CLIP's image embedding as a sum over layers, heads and image patches."]
    last = "jaxclip COMMAND --help says what it takes, with an example that works as it stands."
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:11}{summary(kind)}" for name, kind in group.items())]
    return "\n".join([*lines, "", last])


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exit status 0 when all is well, 1 for a finding or an error told in one line, 2 for bad usage, 75
    for a pass that stopped early and goes on with the same command."""
    # Before NumPy is imported: LAPACK's threads wait for each other by spinning, and on cores that others use too,
    # small decompositions then take seconds where one thread takes milliseconds.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # When Python ends it looks through all that JAX imported for cycles to free: most of a second after the last word.
    atexit.register(gc.freeze)
    try:
        try:
            status = _main(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            print(end="", flush=True)
    except BrokenPipeError as error:
        if not _unheard():
            _complain(error)
        status = 1
    sys.exit(status)


def _main(words: list[str]) -> int:
    if words[:1] == ["--complete"]:  # a shell asks, see commands/completion.py
        print(_offered(words[1:]))
        return 0
    flags = ("--debug", "--json", "--any-size")
    debug, as_json, any_size = (flag in words and not words.remove(flag) for flag in flags)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"jaxclip {__version__}")
        return 0
    with _any_size() if any_size else nullcontext():
        status, result = _run(words, debug)
    if as_json and result is not None:
        print(json.dumps(result, indent=1))
    return status


def _unheard() -> bool:
    """Whether who read our output has seen enough, as `head` has; what is still to be said then goes nowhere."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if _closed(stream)]
    for stream in closed:  # what is left in its buffer, Python would complain of when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(closed)


def _closed(stream: Any) -> bool:
    import select

    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    try:
        poll.register(stream, select.POLLOUT)
    except OSError:  # no file
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _offered(words: list[str]) -> str:
    found = complete(words, COMMANDS)
    return "files" if found is None else "\n".join(["words", *(f"{name}\t{says}" for name, says in found.items())])


def _run(words: list[str], debug: bool) -> tuple[int, dict[str, Any] | None]:
    """Exit status and result of one command; whatever goes wrong is said in one line."""
    try:
        if words[0] not in COMMANDS:
            near = closest(words[0], COMMANDS)
            raise UsageError(f"there is no command {words[0]}{near} `jaxclip --help` shows what there is.")
        command = parse(words[0], COMMANDS[words[0]], words[1:])
        with surroundings(), _told_shortly(COMMANDS[words[0]]):
            if not isinstance(command, Run):  # which joins other hosts first
                check_platform()
            return 0, command.run()
    except Failed as failure:
        _complain(failure)
        return failure.status, failure.result
    except UsageError as error:
        _complain(error)
        return 2, None
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        if debug:
            raise
        say("jaxclip: interrupted")
        return 130, None
    except Exception as error:  # a fault of ours too is told in one line
        if debug:
            raise
        if isinstance(error, ValueError | OSError | ImportError):
            _complain(as_typed(str(error), COMMANDS[words[0]], BESIDE))
        elif (limit := _limit_met(error)) is not None:
            _complain(limit)
        else:
            _complain(f"this should not happen, {type(error).__name__}: {error}")
            say("Run again with --debug for what to report.")
        return 1, None


@contextmanager
def _any_size() -> Iterator[None]:
    """Pictures of any number of pixels are read, in every command: there is one reader, and it asks Pillow."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _limit_met(error: BaseException) -> str | None:
    """What to say where memory or depth ran out, whichever library met it; None for any other error."""
    if isinstance(error, RecursionError):
        return "something that was read is nested too deeply, folders in folders or lists in lists; make it flatter."
    words = " ".join(str(error).split())
    if isinstance(error, MemoryError) or MEMORY.search(words):
        told = f" ({words[:200]})" if words else ""
        return f"there is not enough memory{told}; a smaller --batch or fewer --threads need less."
    return None


@contextmanager
def _told_shortly(kind: type) -> Iterator[None]:
    """Warnings for users in one line, without the place in the code."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
            if category is not UserWarning:
                return shown(message, category, *where, **options)
            say(noted(str(message), kind))

        warnings.showwarning = show
        warnings.filterwarnings("ignore", ".*decompression bomb")  # the reader of pictures has a limit of its own
        yield


def _complain(error: object) -> None:
    say(f"jaxclip: {' '.join(str(error).split())}")
