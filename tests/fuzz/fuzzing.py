"""Broken input by the thousand, and a process with little memory and no network to read it in."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NIGHTLY = 60  # times as many examples, other ones each night

_PLACES, _WAYS = st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "insert", "cut"])
DAMAGE = st.lists(st.tuples(_PLACES, _WAYS, st.binary(min_size=1, max_size=4)), min_size=1, max_size=5)
"""What may happen to a file: places (as shares of its length), and bytes that are overwritten, put in or taken out."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside, max_size=4),
    max_leaves=8,
)
"""Any JSON value, what Python's writer takes beyond the standard (NaN, lone surrogates) included."""


def damaged(whole: bytes, damage: list[tuple[float, str, bytes]]) -> bytes:
    data = bytearray(whole)
    for share, what, content in damage:
        place = int(share * len(data))
        data[place : place + len(content) * (what != "insert")] = b"" if what == "cut" else content
    return bytes(data)


def told(function: Callable, *arguments: Any) -> str | None:
    """How the library refuses, None where it does not; anything but ValueError and OSError is a crash."""
    try:
        function(*arguments)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def leaves(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths to everything in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deep for key, item in inside for deep in leaves(item, (*path, key)))]


def replaced(value: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def fuzz(examples: int = 60, **strategies: Any) -> Callable[[Callable], Callable]:
    """A test of `body(folder, ...)` on a few examples that are always the same, and nightly on many that are not."""

    def decorate(body: Callable) -> Callable:
        def run(folder: Path, n: int, derandomize: bool) -> None:
            options = settings(
                max_examples=n, derandomize=derandomize, deadline=None, suppress_health_check=list(HealthCheck),
                database=None,
            )  # fmt: skip
            options(given(**strategies)(body))(folder=folder)

        @pytest.mark.parametrize("times", [1, pytest.param(NIGHTLY, marks=pytest.mark.nightly)])
        def test(tmp_path: Path, unchecked: None, times: int) -> None:
            run(tmp_path, examples * times, times == 1)

        test.__name__, test.__doc__ = body.__name__, body.__doc__
        return test

    return decorate


GUARD = """
import os, resource, socket, sys
{imports}
def refused(*arguments, **more):  # nothing that catches errors may hide it
    print("the network was asked:", *arguments, file=sys.stderr, flush=True)
    os._exit(3)
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
for argument in sys.argv[1:]:
    try:
        {code}
    except (ValueError, OSError) as error:
        print("refused:", str(error).replace(chr(10), " ")[:1000], flush=True)
    else:
        print("done", flush=True)
"""


def alone(code: str, arguments: list[Any], *, imports: str, gigabytes: float = 4) -> list[str]:
    """What a process says that runs `code` for each `argument`, with so much address space and no network.

    A crash of the process, another error than the library's, or two minutes without an end fail the test.

    Args:
      code: one statement.
      imports: run before the limits.
      gigabytes: of address space; Python with JAX and NumPy takes about two of them by itself.

    Returns:
      "done" or "refused: ..." for each.
    """
    program = GUARD.format(imports=imports, code=code, memory=int(gigabytes * 2**30))
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env=environment, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert done.returncode == 0, f"{arguments[min(len(said), len(arguments) - 1)]}: {done.stderr[-3000:]}"
    return said
