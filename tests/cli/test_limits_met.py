"""What runs out, and what others' names may hold: one sentence each, and never more than text on the terminal."""

import re
import subprocess
import sys

import jax
import pytest
from command import only_line, status

from jaxclip.cli import main
from jaxclip.files.printable import MOST, MOST_OF_A_WORD, printable
from jaxclip.files.strict_json import parse_json
from jaxclip.report.tables import print_numbers

HOSTILE = {
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m", "a\nb\r\tc": r"a\x0ab\x0d\x09c", "\x9b2J": r"\x9b2J",
    "photo\u202egnp.exe": r"photo\u202egnp.exe", "\u2066x\u2069": r"\u2066x\u2069", "a\u2028b": r"a\u2028b",
    "half \udce9": r"half \udce9", "\x00\x07": r"\x00\x07",
    "caf\u00e9 \u65e5\u672c \U0001f600 e\u0301": "caf\u00e9 \u65e5\u672c \U0001f600 e\u0301",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_others_is_only_text(text):
    assert printable(text) == HOSTILE[text]
    assert printable(printable(text)) == printable(text)


def test_long_names_are_cut_and_their_ends_are_shown():
    shown = printable(f"cannot read {'x' * 10_000}/last.png today")
    assert shown.startswith("cannot read xxx")
    assert shown.endswith("x/last.png today")
    assert max(map(len, shown.split())) <= MOST_OF_A_WORD
    assert len(printable("word " * 10_000)) <= MOST + 3


def test_names_reach_the_terminal_as_text(tmp_path, capsys):
    name = "\x1b[2J[red]\u202eevil[/]"
    print_numbers("title [bold]", {name: ["1", name]}, ["", "column [/]"])
    assert status("heatmap", "scenes", tmp_path / f"{name}.png", "a star", "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "\x1b[2J" not in said
    assert "\u202e" not in said
    assert said.count(r"\x1b[2J[red]\u202eevil[/]") == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory; a smaller --batch"),
        (MemoryError("Unable to allocate 9. GiB"), r"not enough memory \(Unable to allocate 9. GiB\)"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes."), "not enough memory"),
        (RuntimeError("std::bad_alloc"), "not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
    ],
)
def test_what_runs_out_is_a_sentence(error, said, monkeypatch, capsys):
    def run(self):
        raise error

    monkeypatch.setattr(main.COMMANDS["plan"], "run", run)
    assert status("plan", "ViT-B-16") == 1
    line = only_line(capsys.readouterr())
    assert re.search(said, line)
    assert "should not happen" not in line


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '"\\ud800"' + "[" * 100_000])
def test_deep_json_is_refused(text):
    with pytest.raises(ValueError, match=r"nested too deeply|Expecting|Extra data"):
        parse_json(text)


def test_deep_results_are_refused_by_name(tmp_path, capsys):
    (tmp_path / "run.json").write_text("[" * 200_000 + "]" * 200_000)
    assert status("textspan", tmp_path, "--out", tmp_path / "out") == 1
    assert "run.json" in only_line(capsys.readouterr())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_a_folder_of_many_levels_is_a_sentence(tmp_path):
    """Deeper than a path's name may be, so made from inside."""
    code = """
import os, sys
for _ in range(3000):
    os.mkdir("d"); os.chdir("d")
open("a.png", "w").close()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "jaxclip", "run", "scenes", ".", "--out", tmp_path / "out"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)
    assert done.returncode == 1
    assert "should not happen" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
