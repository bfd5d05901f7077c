"""The command line in a shell: plain in a pipe, progress in a terminal."""

import contextlib
import os
import re
import subprocess
import sys

import pytest

PROGRESS = """
from jaxclip.report.progress import bar
from jaxclip.report.stages import stages
from jaxclip.report.tables import print_numbers

with stages("work") as at:
    at("first")
    at("second", 1, 2)
with bar("images") as progress:
    progress(1, 2)
print_numbers("title", {"[b]row": ["1"]}, ("name", "number"))
"""


def test_in_a_pipe_output_is_plain():
    done = subprocess.run([sys.executable, "-c", PROGRESS], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [line.split() for line in done.stderr.splitlines()] == [["title"], ["name", "number"], ["[b]row", "1"]]
    assert done.stderr.isascii()
    assert not set(done.stderr) & {"\x1b", "\r"}


@pytest.mark.parametrize(("term", "no_color", "drawn", "coloured"), [
    ("xterm-256color", None, True, True), ("xterm-256color", "1", True, False), ("dumb", None, False, False),
])  # fmt: skip
def test_in_a_terminal_progress_is_drawn_in_colours_if_wanted(term, no_color, drawn, coloured):
    pty = pytest.importorskip("pty", reason="needs a terminal")
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLORTERM")}
    environment = clean | {"TERM": term} | ({"NO_COLOR": no_color} if no_color else {})
    done = subprocess.run(
        [sys.executable, "-c", PROGRESS], stdout=theirs, stderr=theirs, env=environment, timeout=120, check=False
    )
    os.close(theirs)
    said = ""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 65536):
            said += part.decode()
    os.close(ours)
    assert done.returncode == 0
    assert ("work: second" in said) == drawn
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", said)) == coloured
