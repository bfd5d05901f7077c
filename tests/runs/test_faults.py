"""Killed at any moment, on a full or failing disk, a pass ends with the bits it has when nothing happens."""

import errno
import os

import faults
import numpy as np
import pytest
import small_pass
from PIL import Image
from small_pass import EVERYTHING, assert_same

import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.runs.order import Order
from jaxclip.runs.run_pass import run_pass


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return small_pass.pictures(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_pass.run(tmp_path_factory.getbasetemp())


def again(pictures, out, **options):
    return run_pass(small_pass.clip(), open_data(pictures), out, EVERYTHING, save_every=0.0, **options)


def assert_whole_as_far_as_it_is(out, run):
    """Nothing that was half written counts: what a run says it has seen is what the whole one says of those images."""
    if not (out / "run.json").is_file():
        return
    part = jaxclip.open_run(out, unfinished=True)
    n = part.n_images
    assert n + len(part.unreadable) == Order.of_info(part.info).n_seen(part.state.n_batches)
    for row in (*part.rows.tolist(), *part.errors):
        assert part.names[row] == run.names[row]
    assert float(part.state.moments["all"].init.count) == n
    if n < run.n_images:
        with pytest.raises(ValueError, match=r"has seen \d+ of 21 images"):
            jaxclip.open_run(out)


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.nightly)])
def test_killed_at_random_moments(run, pictures, tmp_path, kills):
    """One pass is killed again and again until it ends all the same; then another begins, until so many were killed."""
    rng, killed, n_runs, seconds = np.random.default_rng(), 0, 0, None
    while killed < kills:
        out, ended = tmp_path / f"run{n_runs}", False
        while not ended and killed < kills:
            process, found = faults.child(pictures, out, warm=seconds is None)
            seconds = seconds or found
            ended = not faults.kill_after(process, rng.uniform(0, seconds))
            killed += not ended
            assert_whole_as_far_as_it_is(out, run)
        again(pictures, out)
        assert_same(out, run.folder)
        n_runs += 1


def n_operations(pictures, out):
    count = faults.Count()
    with faults.faulty_writes(out, count):
        again(pictures, out)
    return count.calls


def test_writes_that_come_up_short_are_made_good(run, pictures, tmp_path):
    assert n_operations(pictures, tmp_path / "run") > 100
    assert_same(tmp_path / "run", run.folder)


@pytest.mark.parametrize("tries", [6, pytest.param(200, marks=pytest.mark.nightly)])
def test_a_disk_that_fails_at_any_operation(run, pictures, tmp_path, tries):
    n = n_operations(pictures, tmp_path / "counted")
    for at in np.random.default_rng().permutation(np.arange(1, n + 1))[:tries]:
        out = tmp_path / f"run{at}"
        with faults.faulty_writes(out, faults.Count(at)), pytest.raises(OSError, match="Input/output error") as raised:
            again(pictures, out)
        assert raised.value.errno == errno.EIO, at
        assert "what was done so far is kept; run the same command again" in str(raised.value), at
        assert_whole_as_far_as_it_is(out, run)
        again(pictures, out)
        assert_same(out, run.folder)


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ESTALE])
def test_an_image_that_a_failing_disk_hides_is_not_taken_for_unreadable(run, pictures, tmp_path, monkeypatch, code):
    opened, left, hidden = Image.open, [7], []

    def open_(file, *rest, **options):
        left[0] -= 1
        inode = os.fstat(file.fileno()).st_ino
        if left[0] == 0:
            hidden.append(inode)  # its header is looked at, and then all of it
        if inode in hidden:
            raise OSError(code, os.strerror(code), file.name)
        return opened(file, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", open_)
        with pytest.raises(OSError, match=rf"\.png could not be read just now .*{os.strerror(code)}.*command again"):
            again(pictures, tmp_path / "run")
    assert_whole_as_far_as_it_is(tmp_path / "run", run)
    again(pictures, tmp_path / "run")
    assert_same(tmp_path / "run", run.folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")
@pytest.mark.parametrize("tries", [4, pytest.param(40, marks=pytest.mark.nightly)])
def test_a_disk_that_fills_up(run, pictures, tmp_path, tries):
    whole = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    for i, size in enumerate(np.random.default_rng().integers(4096, whole, tries)):
        disk = tmp_path / f"disk{i}"
        disk.mkdir()
        with faults.small_disk(disk, size) as grow:
            with pytest.raises(OSError, match="free some space and run the same command again") as raised:
                again(pictures, disk / "run", disk=1.0)  # GiB: nothing refuses to begin
            assert raised.value.errno == errno.ENOSPC
            assert_whole_as_far_as_it_is(disk / "run", run)
            grow("64m")
            again(pictures, disk / "run", disk=1.0)
            assert_same(disk / "run", run.folder)


def test_a_block_that_is_half_written_is_found(run, pictures, tmp_path):
    """As a power cut may leave it: the bytes of a block are there in part, under its own name."""
    again(pictures, tmp_path / "run")
    block = tmp_path / "run" / "bank" / "heads" / "c" / "0" / "0" / "0" / "0"
    held = block.read_bytes()
    for cut in (0, 100, len(held) // 2, len(held) - 1):
        block.write_bytes(held[:cut])
        with pytest.raises(ValueError, match=r"heads/c/0/0/0/0 is damaged"):
            jaxclip.open_run(tmp_path / "run").bank.read("heads")
