"""A pass is whole whatever interrupts it, and only ever goes on as the run it began as."""

import errno
import os
import resource
from dataclasses import replace

import numpy as np
import pytest
import small_pass
from small_pass import BATCH, EVERYTHING, assert_same, contents

import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.runs import run_pass as passes
from jaxclip.runs.run_pass import PassOptions, run_pass


@pytest.fixture(scope="module")
def clip():
    return small_pass.clip()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return small_pass.pictures(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def source(pictures):
    return open_data(pictures)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_pass.run(tmp_path_factory.getbasetemp())


class Stop(BaseException):
    """As sudden as a key press."""


@pytest.mark.parametrize("save_every", [0.0, 1e9])
@pytest.mark.parametrize("step", [1, 3, 6])
def test_stopped_after_any_step_it_ends_with_the_same_bits(clip, source, run, tmp_path, step, save_every):
    def stop(done, total):
        if done == min(step * BATCH, total):
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        run_pass(clip, source, out, EVERYTHING, save_every=save_every, progress=stop)
    with pytest.raises(ValueError, match=r"has seen \d+ of 21 images; run the same command again"):
        jaxclip.open_run(out)
    seen = []
    run_pass(clip, source, out, EVERYTHING, progress=lambda done, total: seen.append(done))
    assert seen[0] == (step * BATCH if save_every == 0 and step < 6 else seen[0])
    assert_same(out, run.folder)


@pytest.mark.parametrize(("n_threads", "save_every"), [(1, 0.0), (7, 1e9)])
def test_neither_threads_nor_saving_change_a_bit(clip, source, run, tmp_path, n_threads, save_every):
    run_pass(clip, source, tmp_path / "run", EVERYTHING, n_threads=n_threads, save_every=save_every)
    assert_same(tmp_path / "run", run.folder)


@pytest.mark.parametrize("place", ["rows", "lines", "state", "rename", "begin"])
def test_stopped_while_it_saves_it_ends_with_the_same_bits(clip, source, run, tmp_path, monkeypatch, place):
    left = [2]

    def stop_later(function):
        def stopping(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Stop
            return function(*arguments, **options)

        return stopping

    with monkeypatch.context() as patch:
        match place:
            case "rows":
                patch.setattr(passes.BankWriter, "flush", stop_later(passes.BankWriter.flush))
            case "lines":
                patch.setattr(os, "fsync", stop_later(os.fsync))
            case "state":
                patch.setattr(np, "savez", stop_later(np.savez))
            case "rename":
                left[0] = 3
                patch.setattr(os, "replace", stop_later(os.replace))
            case "begin":
                left[0] = 1
                patch.setattr(os, "replace", stop_later(os.replace))
        with pytest.raises(Stop):
            run_pass(clip, source, tmp_path / "run", EVERYTHING, save_every=0.0)
    run_pass(clip, source, tmp_path / "run", EVERYTHING)
    assert_same(tmp_path / "run", run.folder)


@pytest.mark.parametrize("name", ["run.json", "images.part.jsonl", "matrices.npy", "state.npz", "bank/mlp/zarr.json"])
def test_it_never_goes_on_from_a_damaged_file(clip, source, run, tmp_path, name):
    def stop(done, total):
        if done == 2 * BATCH:
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        run_pass(clip, source, out, EVERYTHING, save_every=0.0, progress=stop)
    held = (out / name).read_bytes()
    at = len(held) // 3
    (out / name).write_bytes(held[:at] + bytes([held[at] ^ 1]) + held[at + 1 :])
    with pytest.raises(ValueError, match=rf"{name} is damaged|run\.json does not say|cannot go on") as raised:
        run_pass(clip, source, out, EVERYTHING)
    assert "\n" not in str(raised.value)
    (out / name).write_bytes(held)
    run_pass(clip, source, out, EVERYTHING)
    assert_same(out, run.folder)


def test_a_block_that_was_damaged_while_nobody_wrote_is_found_when_rows_are_added(clip, source, run, tmp_path):
    def stop(done, total):
        if done == 2 * BATCH:
            raise Stop

    out = tmp_path / "run"
    with pytest.raises(Stop):
        run_pass(clip, source, out, EVERYTHING, save_every=0.0, progress=stop)
    block = out / "bank" / "heads" / "c" / "0" / "0" / "0" / "0"
    held = block.read_bytes()
    block.write_bytes(held[:200] + bytes([held[200] ^ 4]) + held[201:])
    with pytest.raises(ValueError, match=r"bank/heads/c/0/0/0/0 is damaged .*; delete the run and make it again"):
        run_pass(clip, source, out, EVERYTHING)


def test_an_ended_run_is_only_opened(clip, source, run):
    before = contents(run.folder)
    seen = []
    again = run_pass(clip, source, run.folder, EVERYTHING, progress=lambda done, total: seen.append(done))
    assert (again.names, seen, contents(run.folder)) == (run.names, [], before)


@pytest.mark.parametrize("change", ["model", "data", "options", "versions"])
def test_it_never_goes_on_as_another_run(clip, source, pictures, tmp_path, monkeypatch, change):
    options, other = PassOptions(batch=BATCH), clip
    run_pass(clip, source, tmp_path / "run", options)
    before = contents(tmp_path / "run")
    match change:
        case "model":
            other, message = small_pass.clip(1), r"model\.hash was"
        case "data":
            source, message = open_data(pictures, limit=20), r"data\.fingerprint was .*n_images was 21"
        case "options":
            options, message = replace(options, batch=5), r"options\.batch was 4 and is 5"
        case "versions":
            monkeypatch.setattr("jaxclip.version.__version__", "9.9")
            message = r"versions\.jaxclip was .* and is \"9\.9\""
    with pytest.raises(ValueError, match=f"cannot go on: .*{message}"):
        run_pass(other, source, tmp_path / "run", options)
    assert contents(tmp_path / "run") == before


def test_two_processes_never_share_a_folder(clip, source, tmp_path):
    def again(done, total):
        with pytest.raises(FileExistsError, match="another process is running into"):
            run_pass(clip, source, tmp_path / "run", PassOptions(batch=BATCH))

    assert run_pass(clip, source, tmp_path / "run", PassOptions(batch=BATCH), progress=again).n_images == 19


def test_what_lies_in_the_folder_is_left_alone(clip, source, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds thesis\.tex and is no run"):
        run_pass(clip, source, tmp_path)
    with pytest.raises(FileExistsError, match="is a file"):
        run_pass(clip, source, tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_full_disk_costs_nothing_but_time(clip, source, run, tmp_path):
    """Files of limited size meet the same error as a full disk does, in the same places."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(done, total):
        if done == 3 * BATCH:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    try:
        with pytest.raises(OSError, match="free some space and run the same command again") as raised:
            run_pass(clip, source, tmp_path / "run", EVERYTHING, save_every=0.0, progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno == errno.ENOSPC
    assert jaxclip.open_run(tmp_path / "run", unfinished=True).state.n_batches == 2
    run_pass(clip, source, tmp_path / "run", EVERYTHING)
    assert_same(tmp_path / "run", run.folder)
