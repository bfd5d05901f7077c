"""A disk that fails below every library, tensorstore's own writes too: a pass goes on, or stops with one clear line."""

import errno
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import command
import numpy as np
import pytest
import small_pass
from test_faults import assert_whole_as_far_as_it_is

import jaxclip
from jaxclip.files.atomic import inventory

TESTS = Path(__file__).parents[1]
SHIM = TESTS / "helpers" / "disk_shim.c"
KEPT = "and what was done so far is kept; {}run the same command again: '{}'"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The library that stands between a process and libc."""
    if not sys.platform.startswith("linux") or not (compiler := shutil.which("cc")):
        pytest.skip("needs Linux and a C compiler: what fails is put between libraries and libc")
    library = tmp_path_factory.mktemp("shim") / "disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return small_pass.pictures(tmp_path_factory.getbasetemp())


def pass_of(pictures, out):
    """A command that saves after every step, so that operations of all kinds come often."""
    return ["run", TESTS / "golden", pictures, "--batch", 4, "--by", "label", "--bank", "--save-every", 0, "--out", out]


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory):
    """The same pass where nothing fails."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert command.status(*pass_of(pictures, out)) == 0
    return jaxclip.open_run(out)


def below_shim(shim, folder, arguments, **disk):
    """A command in a process of its own, on a disk that does what `disk` says: exit status, and what it said."""
    names = {f"DISK_{name.upper()}": str(value) for name, value in disk.items()}
    done = subprocess.run(
        [sys.executable, "-m", "jaxclip", *map(str, arguments)],
        capture_output=True, text=True, timeout=300,
        env=os.environ | names | {"LD_PRELOAD": str(shim), "DISK_FOLDER": str(folder)},
    )  # fmt: skip
    return done.returncode, done.stderr.strip()


@pytest.fixture(scope="module")
def operations(shim, pictures, whole, tmp_path_factory):
    """What a pass does on its disk where every write comes up short: it is the same pass, to the bit."""
    out = tmp_path_factory.mktemp("short") / "run"
    log = out.with_name("log")
    assert below_shim(shim, out, pass_of(pictures, out), short=1, log=log)[0] == 0
    small_pass.assert_same(out, whole.folder)
    return [line.split(" ", 1) for line in log.read_text().splitlines()]


def test_short_writes_are_made_good_by_every_library(operations):
    """Tensorstore writes the bank and Python all else; what both put in place took several writes."""
    for inside in (True, False):
        n = Counter(what for what, path in operations if ("/bank/" in path) == inside)
        assert n["open"] >= n["sync"] // 2 > 5
        assert n["write"] > 3 * n["rename"] > 15


TRIES = [1, pytest.param(25, marks=pytest.mark.nightly)]


@pytest.mark.parametrize("tries", TRIES)
@pytest.mark.parametrize("where", ["", "bank"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_any_operation_may_fail(shim, pictures, whole, operations, tmp_path, code, where, tries):
    """On a disk of short writes one operation does, or that and all that follow; mended, the same command goes on."""
    n = sum(where in path for _, path in operations)
    for at in np.random.default_rng().integers(1, n + 1, tries):
        out = tmp_path / f"run{at}"
        stays = {"stays": 1} if at % 2 else {}
        status, said = below_shim(shim, out / where, pass_of(pictures, out), short=1, at=at, errno=code, **stays)
        if status == 0:  # what failed was the removal of something that is not needed
            small_pass.assert_same(out, whole.folder)
            continue
        remedy = "free some space and " if code == errno.ENOSPC else ""
        assert status == 1
        said = "\n".join(command.complaints(said))
        assert said.startswith("jaxclip: ")
        assert said.endswith(KEPT.format(remedy, out)), (at, said)
        assert "\n" not in said
        assert_whole_as_far_as_it_is(out, whole)
        assert command.status(*pass_of(pictures, out)) == 0, at
        small_pass.assert_same(out, whole.folder)


@pytest.mark.parametrize("tries", TRIES)
def test_a_conversion_is_the_new_one_or_the_one_before(shim, tmp_path, tries):
    """Nothing lies beside it either, and Orbax's threads do not talk over the one line."""
    place = tmp_path / "place"
    assert command.status("convert", TESTS / "golden", place / "model") == 0
    arguments = ["convert", TESTS / "golden", place / "model", "--overwrite"]
    assert below_shim(shim, tmp_path, arguments, log=tmp_path / "log")[0] == 0
    n = len((tmp_path / "log").read_text().splitlines())
    for at in np.random.default_rng().integers(1, n + 1, tries):
        before = inventory(place / "model")
        status, said = below_shim(shim, tmp_path, arguments, at=at, errno=errno.EIO)
        assert jaxclip.load(place / "model").config.name
        assert [path.name for path in place.iterdir()] == ["model"]
        if status != 0:
            assert said.endswith(f"nothing was left behind; run it again: '{place / 'model'}'"), (at, said)
            assert "\n" not in said
            assert inventory(place / "model") == before
