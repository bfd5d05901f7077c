"""The command line in a shell: plain in a pipe, progress in a terminal, completion."""

import contextlib
import os
import re
import shutil
import subprocess
import sys

import pytest
from command import status as run

from jaxclip.cli import COMMANDS

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


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["he"], {"heatmap"}),
        (["run", "scenes", "scenes", "--bank-d"], {"--bank-dtype"}),
        (["heatmap", "--dtype", "b"], {"bfloat16"}),
        (["run", "--kind", "c"], {"classes", "cub", "cifar"}),
        (["completion", "--h"], {"--help"}),
    ],
)
def test_bash_completes(tmp_path, capsys, words, completed):
    assert run("completion", "bash") == 0
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out)
    typed = ["jaxclip", *words]
    ask = f"""
source {script}
COMP_WORDS=({" ".join(typed)}); COMP_CWORD={len(words)}; COMP_LINE="{" ".join(typed)}"; COMP_POINT=${{#COMP_LINE}}
read -r -a registered <<< "$(complete -p jaxclip)"
"${{registered[2]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60, check=False)
    assert set(done.stdout.split()) == completed, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_names_every_command(capsys, shell):
    assert run("completion", shell) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS)
