"""Every command's own example, on fewer scenes: plain in a pipe, one JSON document, and progress in a terminal."""

import json
import os
import re
import shlex
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import NoneType
from typing import get_type_hints

import pytest
from command import status
from rich.progress import Progress

from jaxclip.cli.main import COMMANDS, main
from jaxclip.cli.usage import about
from jaxclip.files.strict_json import parse_json
from jaxclip.planner import plan as planner

PLANS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "plans.json"
SLOW = 2
"""Seconds after which people want to see that something happens."""


def example(command):
    """The words of each line, on fewer scenes."""
    lines = [line for line in about(COMMANDS[command])[1].splitlines() if line.startswith("jaxclip ")]
    return [tuple(shlex.split(re.sub(r"--limit \d+", "--limit 60", line).split(">")[0])[1:]) for line in lines]


@contextmanager
def terminal(monkeypatch):
    """Standard error is a terminal; gives what it was sent, complete when the block ends."""
    pty = pytest.importorskip("pty", reason="needs a terminal")
    ours, theirs = pty.openpty()
    seen = bytearray()

    def read():
        with suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65536):
                seen.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patch, open(theirs, "w", encoding="utf-8") as stream:
        patch.setattr(sys, "stderr", stream)
        patch.setenv("TERM", "xterm-256color")
        yield seen
    reader.join()
    os.close(ours)


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A function of a command: in one folder for all, everything its example rests on is done; its own line."""
    folder, done = tmp_path_factory.mktemp("examples"), set()

    def prepared(command):
        os.chdir(folder)
        *first, own = example(command)
        for words in first:
            assert words in done or status(*words) == 0
        done.update(first)
        return own

    return prepared


@pytest.fixture(autouse=True)
def planned(monkeypatch):
    """What libtpu said of another question, for it is not installed beside JAX."""
    said = json.loads(PLANS.read_text())["ViT-B-16 v5e:2x4 pass 256 float32"] | {"collectives": []}
    monkeypatch.setattr(planner, "python_with_libtpu", lambda python: python)
    monkeypatch.setattr(planner, "ask", lambda config, plan, python: said | {"question": asdict(plan)})
    monkeypatch.chdir(".")  # where the tests began is where they end


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "demo"])  # which test_demo.py runs
def test_an_example_works_and_is_plain_in_a_pipe(command, before, monkeypatch, capfd):
    words = before(command)
    monkeypatch.setattr(sys, "stdin", None)
    capfd.readouterr()
    assert status(*words, "--json") == 0
    printed, said = capfd.readouterr()
    assert not set(printed + said) & {"\x1b", "\r", "\b"}
    if get_type_hints(COMMANDS[command].run)["return"] is not NoneType:
        assert parse_json(printed)


class Begun(BaseException):
    """A command is left where it shows its first progress."""


@pytest.mark.parametrize("command", COMMANDS)
def test_in_a_terminal_a_command_begins_with_progress_if_it_takes_long(command, before, monkeypatch):
    add_task = Progress.add_task

    def first(self, *arguments, **options):
        add_task(self, *arguments, **options)
        self.refresh()
        raise Begun

    words = [word.replace("scenes_model", "another_model") for word in before(command)]
    began = time.monotonic()
    with terminal(monkeypatch) as seen, monkeypatch.context() as patch:
        patch.setattr(Progress, "add_task", first)
        with suppress(Begun, SystemExit):
            main(words)
    assert "━" in seen.decode() or time.monotonic() - began < SLOW


@pytest.mark.parametrize("words", [
    ("--help",), ("--version",), *((command, "--help") for command in COMMANDS), ("completion", "zsh"),
    ("verify", "scenes", "--json"),
], ids=" ".join)  # fmt: skip
def test_a_reader_that_has_seen_enough_is_no_error(words, monkeypatch, capfd):
    monkeypatch.setattr(COMMANDS["verify"], "run", lambda self: {"model": "scenes"})
    ours, theirs = os.pipe()
    os.close(ours)
    with monkeypatch.context() as patch, open(theirs, "w") as stream:
        patch.setattr(sys, "stdout", stream)
        assert status(*words) == 1
    assert capfd.readouterr().err == ""


def test_errors_that_nobody_reads_are_no_traceback(monkeypatch, capfd):
    ours, theirs = os.pipe()
    os.close(ours)
    with monkeypatch.context() as patch, open(theirs, "w", buffering=1) as stream:
        patch.setattr(sys, "stderr", stream)
        assert status("verify", "nowhere/at/all") == 1
    assert capfd.readouterr() == ("", "")


def test_a_broken_pipe_of_another_kind_is_told(monkeypatch, capsys):
    def broken(_self):
        raise BrokenPipeError("the store hung up")

    monkeypatch.setattr(COMMANDS["verify"], "run", broken)
    assert status("verify", "scenes") == 1
    assert capsys.readouterr().err == "jaxclip: the store hung up\n"
