"""Several hosts see what one sees: real processes on one machine, undisturbed, asked to stop, and killed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import host_worker
import jax
import numpy as np
import pytest
import small
import small_pass
from command import complaints

import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.devices.cluster import AGAIN, OLDEST, stopping
from jaxclip.runs.run_pass import run_pass

pytestmark = pytest.mark.skipif(jax.__version_info__ < OLDEST, reason="several hosts need a newer JAX")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small.export_two_layers(tmp_path_factory.mktemp("hosts") / "model")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return small_pass.pictures(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def one(model, pictures, tmp_path_factory):
    """One process, one device."""
    out = tmp_path_factory.mktemp("one") / "run"
    named = {"model": str(model), "data": str(pictures)}  # as the command records them
    return run_pass(jaxclip.load(model), open_data(pictures), out, small_pass.EVERYTHING, **named)


@pytest.fixture(scope="module")
def start(model, pictures, tmp_path_factory):
    """Begins or goes on with a pass on n hosts: exit status of each, what it said, and how long the last outlived the
    first."""

    def run(out, n, signals=(), devices=1, before=(), data=pictures):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, Path(host_worker.__file__)]
        options = ["run", model, data, "--out", out, "--batch", small_pass.BATCH, "--by", "label", "group"]
        options += ["--bank", "--save-every", 0, "--threads", 1]
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        logs = [tmp_path_factory.mktemp("said") / "stderr" for _ in range(n)]
        workers = []
        for host, log in enumerate(logs):
            where = ["--coordinator", f"127.0.0.1:{port}", "--hosts", n, "--host", host] if n > 1 else []
            words = map(str, [*dict(before).get(host, ()), *command, dict(signals).get(host, "none"), *options, *where])
            with log.open("wb") as file:
                workers.append(subprocess.Popen([*words], env=environment, stdout=subprocess.DEVNULL, stderr=file))
        return *wait(workers), ["".join(f"{line}\n" for line in complaints(log.read_text())) for log in logs]

    return run


def wait(workers, limit=200):
    ends, began = {}, time.monotonic()
    try:
        while len(ends) < len(workers):
            assert time.monotonic() - began < limit, "a host hangs"
            ends |= {w.pid: time.monotonic() for w in workers if w.pid not in ends and w.poll() is not None}
            time.sleep(0.1)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return max(ends.values()) - min(ends.values()), [worker.returncode for worker in workers]


@pytest.fixture(scope="module")
def two(start, tmp_path_factory):
    out = tmp_path_factory.mktemp("two") / "run"
    _, status, said = start(out, 2)
    assert status == [0, 0], said
    assert said[0].splitlines()[0] == f"wrote {out}: 19 images"
    assert said[1] == ""
    return out


def bank(folder):
    return {path.relative_to(folder): path.read_bytes() for path in (folder / "bank").rglob("*") if path.is_file()}


def assert_one(folder, one):
    """A run of several hosts is that of one process but for rounding."""
    run = jaxclip.open_run(folder)
    assert (run.names, run.unreadable, len(run.unreadable)) == (one.names, one.unreadable, 2)
    assert (folder / "images.jsonl").read_bytes() == (one.folder / "images.jsonl").read_bytes()
    for kind in ("label", "group"):
        np.testing.assert_array_equal(run.labels[kind], one.labels[kind])
        np.testing.assert_array_equal(run.bank.labels(kind), one.bank.labels(kind))
    for name in ("embedding", "heads", "mlp", "init", "class_attn"):
        np.testing.assert_allclose(run.bank.read(name), one.bank.read(name), rtol=0, atol=1e-6)
    pairs = [(run.moments, one.moments), (run.moments_by("group", "b"), one.moments_by("group", "b"))]
    for ours, theirs in pairs:
        for name in ("heads", "mlp", "init", "class_attn", "embedding"):
            found, expected = getattr(ours, name), getattr(theirs, name)
            np.testing.assert_array_equal(found.count, expected.count)
            np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=1e-6)
            np.testing.assert_allclose(found.covariance, expected.covariance, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(picks(run), picks(one))


def picks(run):
    texts = np.random.default_rng(1).standard_normal((40, run.config.vision.embed_dim)).astype(np.float32)
    heads = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), run.moments.heads)
    return jax.vmap(lambda head: jaxclip.textspan(head, texts, steps=4).indices)(heads)


def only_line(said):
    lines = said.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_two_hosts_see_what_one_sees(two, one):
    assert_one(two, one)


def test_asked_to_stop_then_killed_then_on_fewer_hosts_it_ends_with_the_same_bits(start, two, one, tmp_path):
    out = tmp_path / "run"
    _, status, said = start(out, 2, {1: "TERM@1"})
    assert status == [AGAIN, AGAIN], said
    for line in map(only_line, said):
        assert re.fullmatch(r"jaxclip: stopped after 8 of 21 images; the same command goes on", line)
    assert jaxclip.open_run(out, unfinished=True).state.n_batches == 2

    apart, status, said = start(out, 2, {1: "KILL@2"})
    assert status == [AGAIN, -9], said
    assert apart < 40  # 5 s until it is missed, on a machine that may have other things to do
    assert re.match(r"jaxclip: host 1 is gone: .* the same command goes on", only_line(said[0]))
    assert 2 <= jaxclip.open_run(out, unfinished=True).state.n_batches < 6

    _, status, said = start(out, 1, (), 2)  # as many devices, in one process
    assert status == [0], said
    assert bank(out) == bank(two)
    assert_one(out, one)


@pytest.mark.nightly
@pytest.mark.parametrize("lost", [0, 3])
def test_four_hosts_of_which_one_is_killed_go_on_as_two(start, one, tmp_path, lost):
    _, status, said = start(tmp_path / "whole", 4)
    assert status == [0] * 4, said
    assert_one(tmp_path / "whole", one)

    apart, status, said = start(tmp_path / "run", 4, {lost: "KILL@3"})
    assert [status[host] for host in range(4) if host != lost] == [AGAIN] * 3, said
    assert apart < 40
    for host in range(4):
        if host != lost:
            assert f"jaxclip: host {lost} is gone" in only_line(said[host])
    _, status, said = start(tmp_path / "run", 2, (), 2)  # four devices again
    assert status == [0, 0], said
    assert bank(tmp_path / "run") == bank(tmp_path / "whole")
    assert_one(tmp_path / "run", one)


@pytest.mark.nightly
def test_an_error_on_one_host_is_told_on_all(start, tmp_path):
    """Three hosts cannot share four parts; hosts that run other commands are found out."""
    _, status, said = start(tmp_path / "run", 3)
    assert status == [1, 1, 1], said
    assert all("a pass of 4 parts cannot be shared by 3 hosts, only by 1, 2, 4" in only_line(line) for line in said)


@pytest.mark.nightly
@pytest.mark.parametrize("by", [0, 1])
@pytest.mark.parametrize(("reader", "number"), [(0, 10), (1, 17)])
def test_a_picture_replaced_in_mid_pass_is_named_on_both(start, pictures, tmp_path, reader, number, by):
    """Number 10 is read by host 0 and number 17 by host 1, both in the last steps."""
    data = shutil.copytree(pictures.parent, tmp_path / "data") / pictures.name
    path = data.parent / data.read_text().splitlines()[1 + number].split(",")[0]
    apart, status, said = start(tmp_path / "run", 2, {by: f"REPLACE@1@{path}"}, data=data)
    assert status == [1, 1], said  # not 75: starting again would meet the same
    assert apart < 40
    changed = rf"{re.escape(str(path))} has changed .* since the pass began"
    assert re.search(rf"jaxclip: {changed}", only_line(said[reader]))
    assert re.search(rf"jaxclip: host {reader} stopped: {changed}", only_line(said[1 - reader]))


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")
def test_a_host_that_does_not_see_the_folder(start, tmp_path):
    alone = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs tmpfs {tmp_path} && exec "$0" "$@"']
    _, status, said = start(tmp_path / "run", 2, before={1: alone})
    assert status == [1, 1], said
    for line in map(only_line, said):
        assert re.search(r"host 1 does not see what host 0 writes to .* on a file system that all hosts share", line)


@pytest.mark.parametrize("name", ["TERM", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("INT", "USR1"))])
def test_a_signal_saves_and_the_same_command_goes_on(start, model, pictures, one, tmp_path, name):
    _, status, said = start(tmp_path / "run", 1, {0: f"{name}@3"})
    assert status == [AGAIN]
    assert only_line(said[0]) == "jaxclip: stopped after 12 of 21 images; the same command goes on"
    assert jaxclip.open_run(tmp_path / "run", unfinished=True).state.n_batches == 3
    run_pass(jaxclip.load(model), open_data(pictures), tmp_path / "run", small_pass.EVERYTHING)
    small_pass.assert_same(tmp_path / "run", one.folder)


@pytest.mark.parametrize("name", ["TERM", "INT", "USR1"])
def test_one_signal_asks_and_the_second_does_not(name):
    number = getattr(signal, f"SIG{name}")
    before = signal.getsignal(number)
    with stopping() as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def edited(folder, name, line, other):
    """A copy of the package with one line changed, and the environment that finds it first."""
    root = Path(jaxclip.__file__).parent
    unseen = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root, folder / "jaxclip", ignore=unseen)
    if not (folder / "jaxclip" / "convert").is_dir():  # a checkout has it beside the package
        shutil.copytree(root.parent / "convert", folder / "jaxclip" / "convert", ignore=unseen)
    path = folder / "jaxclip" / name
    text = path.read_text()
    assert text.count(line) == 1
    path.write_text(text.replace(line, other))
    return ["env", f"PYTHONPATH={folder}"]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "line", "other", "said"),
    [
        ("preprocess.py", '"bicubic": Image.Resampling.BICUBIC', '"bicubic": Image.Resampling.BOX', "code is"),
        ("version.py", '__version__ = "', '__version__ = "9.', r"versions\.jaxclip is .* on host 0 and \"9"),
    ],
)
def test_a_host_with_another_program_is_refused_on_both_before_anything_is_there(
    start, tmp_path, name, line, other, said
):
    _, status, told = start(tmp_path / "run", 2, before={1: edited(tmp_path / "other", name, line, other)})
    assert status == [1, 1]  # not 75: starting again would meet the same
    assert any(re.search(said, text) for text in told), told
    assert all("all hosts must run" in text or "host 0 stopped" in text or "host 1 stopped" in text for text in told)
    assert not (tmp_path / "run" / "run.json").exists()
