"""Every file that a command writes appears whole or not at all, whatever fails on its disk: what an earlier command
left is kept until then, no draft stays, and one line says what happened."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import report_run
from test_failing_disk import shim  # noqa: F401

from jaxclip.files.whole import is_draft

HELPERS = Path(__file__).parents[1] / "helpers"
COMMANDS = {
    "decompose": (["scenes", "scenes/7", "--texts", "a star", "a circle"], ["--no-relative"]),
    "heatmap": (["scenes", "scenes/7", "a star", "a circle"], ["--format", "svg"]),
    "textspan": (["{run}", "--texts", "{pool}", "--layers", "5"], ["--steps", "2"]),
    "ablate": (["{run}", "--label", "shape"], ["--no-completeness"]),
    "debias": (["{run}", "--label", "bird", "--property", "background", "--steps", "2"], ["--draws", "3"]),
    "retrieve": (["{run}", "0", "--property", "colour"], ["--k", "2"]),
    "segment": (["scenes", "scenes", "--limit", "2"], ["--way", "classes"]),
    "verify": (["scenes"], ["--batch", "2"]),
    "report": (["{run}", "--pool", "{pool}", "--steps", "2", "--images", "4"], ["--examples", "2"]),
    "demo": (["--n-scenes", "5", "--no-passes"], ["--n-scenes", "6"]),
    "export": ([], []),
}  # fmt: skip
"""What a command is given, and what differs the time before."""
FILES = {"verify": "table.json", "report": "report.html"}
SLOW = ("demo", "report", "debias")
CODES = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS]


class Worker:
    """Commands below the shim, in a process of their own."""

    def __init__(self, library, *words):
        self.process = subprocess.Popen(
            [sys.executable, HELPERS / "disk_worker.py", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL, env=os.environ | {"LD_PRELOAD": str(library)}, cwd=HELPERS,
        )  # fmt: skip

    def __call__(self, arguments, **disk):
        """Exit status of a command, and the lines that it complains in."""
        asked = {
            "arguments": [str(one) for one in arguments],
            "disk": {name: str(one) for name, one in disk.items()} | {"more": "1"},
        }
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        found = json.loads(self.process.stdout.readline())
        return found["status"], [line for line in found["said"].splitlines() if line.startswith("jaxclip: ")]

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def below(shim):  # noqa: F811
    worker = Worker(shim)
    yield worker
    worker.close()


def filled(name, run, out, before=False):
    words, other = COMMANDS[name]
    words = [word.format(run=run, pool=run.parent / "few.txt") for word in [*words, *(other if before else [])]]
    return [name, *words, "--out", out / FILES[name] if name in FILES else out]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_whole(name, content, old, new):
    """Whether a file is the old one or the new one; how long a command took stands in some."""
    if content in (old.get(name), new.get(name)):
        return True
    return name.endswith("json") and isinstance(json.loads(content), dict)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


TRIES = [2, pytest.param(None, marks=pytest.mark.nightly)]


@pytest.mark.parametrize("tries", TRIES)
@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.nightly] * (one in SLOW)) for one in COMMANDS])
def test_files_are_whole_or_what_they_were(below, place, tmp_path_factory, name, tries):
    run = report_run.run(tmp_path_factory.getbasetemp()).folder
    (run.parent / "few.txt").write_text("a star\na circle\ngrass\n")
    code, said = below(filled(name, run, place, before=True))
    assert code == 0, said
    shutil.copytree(place, before := place.with_name("before"))
    code, said = below(filled(name, run, place), folder=place, log=(log := place.with_name("log")))
    assert code == 0, said
    operations = [line.split(" ", 1) for line in log.read_text().splitlines()]
    old, new = contents(before), contents(place)
    places = range(1, len(operations) + 1)
    if tries:
        places = np.random.default_rng().choice(places, tries, replace=False).tolist()
    for at in places:
        what, path = operations[at - 1]
        code, stays = CODES[at % len(CODES)], {"stays": 1} if at % 3 == 0 else {}
        shutil.rmtree(place)
        shutil.copytree(before, place)
        ended, said = below(filled(name, run, place), folder=place, at=at, errno=code, **stays)
        trouble = f"{at}: {what} {path}, {os.strerror(code)}, {stays}: {said}"
        found = contents(place)
        left = [one for one in found if is_draft(Path(one).name)]
        assert not left or stays or what == "unlink", trouble
        assert all(is_whole(one, content, old, new) for one, content in found.items() if one not in left), trouble
        assert old.keys() <= found.keys(), trouble
        if ended == 0:
            assert what in ("unlink", "rmdir", "close"), trouble
            continue
        assert len(said) == 1, trouble
        assert "should not happen" not in said[0], trouble
        wanted = "the disk filled up|space|quota" if code in (errno.ENOSPC, errno.EDQUOT) else os.strerror(code)
        assert any(word in said[0] for word in wanted.split("|")), trouble
