"""What only shows on much data or between processes: time and memory that stay flat, and one folder by three names."""

import os
import subprocess
import sys
import time

import pytest
import small_pass

import jaxclip
from jaxclip.data.open_data import open_data

pytestmark = pytest.mark.nightly
PASS = """
import resource, sys, time
import jaxclip
from jaxclip.data.scenes import CHECKPOINT
from jaxclip.data.open_data import open_data
from jaxclip.runs.options import PassOptions
from jaxclip.runs.run_pass import run_pass
clip, began, seen = jaxclip.load(CHECKPOINT), time.monotonic(), []
def progress(done, total):
    seen.append((done, time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
run_pass(clip, open_data("scenes", limit=int(sys.argv[1])), sys.argv[2], PassOptions(batch=50), progress=progress)
late = seen[len(seen) // 2 :]
print(seen[-1][2], (late[-1][1] - late[0][1]) / (late[-1][0] - late[0][0]))
"""


def test_a_pass_of_20000_is_as_flat_as_one_of_1000(tmp_path):
    """Peak memory, in KiB, and seconds an image in its second half, when all is compiled."""
    found = {}
    for n in (1000, 20_000):
        words = [sys.executable, "-c", PASS, str(n), str(tmp_path / str(n))]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found[n] = tuple(map(float, done.stdout.split()))
    assert found[20_000][0] < found[1000][0] + 64 * 1024, found
    assert found[20_000][1] < 1.5 * found[1000][1], found  # other processes take turns with it


def test_200000_files_are_listed_in_20_seconds(tmp_path):
    for folder in range(20):
        (tmp_path / f"{folder}").mkdir()
        for number in range(10_000):
            os.close(os.open(tmp_path / f"{folder}" / f"{number}.png", os.O_CREAT | os.O_WRONLY))
    began = time.process_time()
    source = open_data(tmp_path)
    assert len(source) == 200_000
    assert source.fingerprint()
    assert time.process_time() - began < 20


RACER = """
import sys, time
import small_pass
clip, data = small_pass.clip(), small_pass.open_data(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    small_pass.run_pass(clip, data, sys.argv[2], small_pass.EVERYTHING, save_every=0.0)
except FileExistsError as error:
    sys.exit(str(error))
"""


def test_three_that_race_through_a_link_and_a_bind_mount(tmp_path, tmp_path_factory):
    """They are one folder, whatever its name: one at a time writes, and it is the run that one makes alone."""
    base = tmp_path_factory.getbasetemp()
    place, link, mount = tmp_path / "place", tmp_path / "link", tmp_path / "mount"
    place.mkdir()
    link.symlink_to(place)
    mount.mkdir()
    mounted = subprocess.run(["mount", "--bind", place, mount], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        here = os.environ | {"PYTHONPATH": os.path.dirname(small_pass.__file__)}
        outs = [one / "run" for one in (place, link, mount)]
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, small_pass.pictures(base), out], stdin=subprocess.PIPE, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=here,
            )
            for out in outs
        ]  # fmt: skip
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 3
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = [racer.communicate(timeout=300)[1] for racer in racers]
        refused = [words for racer, words in zip(racers, said, strict=True) if racer.returncode]
        assert len(refused) < 3, said
        assert all("another process is running into" in words for words in refused), refused
        assert jaxclip.open_run(place / "run").is_finished
        small_pass.assert_same(place / "run", small_pass.run(base).folder)
    finally:
        subprocess.run(["umount", "-l", mount], check=True)
