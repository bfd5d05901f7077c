"""A pass goes on with the code, on the machine and over the files it began with, or says what differs."""

import json
import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import small_pass
from PIL import Image
from small_pass import BATCH, EVERYTHING
from test_sources import PREPROCESS

import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.data.stamps import DataChanged, Listing
from jaxclip.devices import hosts
from jaxclip.runs import folder, program
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.loader import batches
from jaxclip.runs.order import Order
from jaxclip.runs.run_pass import PassOptions, run_pass
from jaxclip.runs.step import step

TWO = replace(EVERYTHING, bank=False, by=())


class Stop(BaseException):
    pass


def begun(clip, source, out, steps=2, **options):
    """A pass that was killed after some steps."""

    def stop(done, total):
        if done == steps * BATCH:
            raise Stop

    with pytest.raises(Stop):
        run_pass(clip, source, out, TWO, save_every=0.0, progress=stop, **options)
    return out


@pytest.fixture(scope="module")
def clip():
    return small_pass.clip()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return small_pass.pictures(tmp_path_factory.getbasetemp())


@pytest.fixture
def data(pictures, tmp_path):
    """A copy that a test may change, of the same times."""
    return shutil.copytree(pictures.parent, tmp_path / "data") / "list.csv"


def files(path):
    return [path.parent / line.split(",")[0] for line in path.read_text().splitlines()[1:]]


def another(path):
    """Another picture in its place, of the same size and time."""
    before, held = path.stat(), bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def moved_in(path):
    """The same by way of a new file that is renamed."""
    new = path.with_suffix(".new")
    shutil.copy2(path, new)
    another(new)
    new.replace(path)


def test_the_record_says_what_decides_the_numbers(clip, pictures, tmp_path):
    info = json.loads((begun(clip, open_data(pictures), tmp_path / "run") / "run.json").read_text())
    said = program.program()
    assert {name: info[name] for name in program.PARTS} == said
    assert set(said["versions"]) >= {"jaxclip", "python", "jax", "jaxlib", "numpy", "pillow", "flax"}
    assert {"jpg", "zlib"} <= set(said["decoders"])
    assert said["machine"]["threads"] >= 1


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("code", "0" * 64, r"began with another code, .* code was .* and is "),
        ("machine", {"processor": "x86_64 GenuineIntel 6 85"}, r"another machine, .* machine\.processor was "),
        ("machine", {"threads": 1000}, r"machine\.threads was .* and is 1000"),
        ("machine", {"xla_flags": "--xla_cpu_enable_fast_math=true"}, r"machine\.xla_flags was \"\" and is "),
        ("machine", {"instructions": "avx2 fma neon"}, r"machine\.instructions was "),
        ("machine", {"x64": True}, r"machine\.x64 was false and is true"),
        ("machine", {"nvidia_tf32_override": "0"}, r"machine\.nvidia_tf32_override was null and is "),
    ],
)
def test_other_code_and_another_machine_are_refused_or_accepted(
    clip, pictures, tmp_path, monkeypatch, part, value, message
):
    source, held = open_data(pictures), program.program()
    out = begun(clip, source, tmp_path / "run")
    other = held | {part: held[part] | value if isinstance(value, dict) else value}
    with monkeypatch.context() as patch:
        patch.setattr("jaxclip.runs.folder.program", lambda: other)
        with pytest.raises(ValueError, match=rf"{message}.*pass accept=\('{part}',\), and the run will say so"):
            run_pass(clip, source, out, TWO)
        run = run_pass(clip, source, out, TWO, accept=(part,))
        assert run.state.changes == [{"n_batches": 1, part: other[part]}]
    again = run_pass(clip, source, out, TWO)  # it has ended, and is only opened, on any machine
    assert (again.names, again.state.changes) == (run.names, run.state.changes)


def test_what_was_accepted_is_then_what_it_goes_on_with(clip, pictures, tmp_path, monkeypatch):
    source, held = open_data(pictures), program.program()
    out = begun(clip, source, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("jaxclip.runs.folder.program", lambda: held | {"code": "1" * 64})
        begun(clip, source, out, 3, accept=("code",))
        assert jaxclip.open_run(out, unfinished=True).state.changes == [{"n_batches": 1, "code": "1" * 64}]
    with pytest.raises(ValueError, match="began with another code"):
        run_pass(clip, source, out, TWO)


@pytest.mark.parametrize("name", ["cli/main.py", "runs/loader.py", "convert/__init__.py"])
def test_the_hash_of_the_code_is_of_every_module(monkeypatch, name):
    before = program.code_hash.__wrapped__()
    assert program.code_hash.__wrapped__() == before
    read, seen = type(small_pass_path()).read_bytes, []

    def edited(self):
        found = self.as_posix().endswith(f"/{name}") and self.name != "conftest.py"
        seen.extend([self] * found)
        return read(self) + b"\n# another" * found

    monkeypatch.setattr("pathlib.Path.read_bytes", edited)
    assert program.code_hash.__wrapped__() != before
    assert seen


def small_pass_path():

    return Path(small_pass.__file__)


def test_processors_are_told_apart_by_what_is_compiled_for():
    x86 = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t: 1\nmicrocode\t: 0x1\nflags\t\t: fpu sse2 {}\n\n"
    arm = "processor\t: 0\nFeatures\t: fp asimd sve2\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n\n"
    plain, wide = program.processor_of(x86.format("avx2")), program.processor_of(x86.format("avx2 avx512f"))
    assert plain["processor"] == wide["processor"]
    assert (plain["instructions"], wide["instructions"]) == ("avx2 sse2", "avx2 avx512f sse2")
    # Kernels and their mitigations change from boot to boot, and no number with them.
    assert program.processor_of(x86.format("avx2 ibrs ssbd").replace("0x1", "0x2")) == plain
    assert program.processor_of(arm)["processor"].endswith("0x41 0xd40")
    assert program.processor_of(arm)["instructions"] == "asimd sve2"


def test_options_of_xla_count_but_for_the_number_of_devices(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_dump_to=dumped")
    assert program.machine()["xla_flags"] == ""
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX --xla_force_host_platform_device_count=8")
    assert program.machine()["xla_flags"] == "--xla_cpu_max_isa=AVX"
    (tmp_path / "flags").write_text("--xla_cpu_enable_fast_math=true\n--xla_dump_to=dumped\n")
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))  # XLA reads them from there
    assert program.machine()["xla_flags"] == "--xla_cpu_enable_fast_math=true"
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "none"))
    assert program.machine()["xla_flags"] == str(tmp_path / "none")


@pytest.mark.parametrize("name", ["LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE"])
def test_what_else_changes_products_is_recorded_where_it_is_set(monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    before = program.machine()
    monkeypatch.setenv(name, "1")
    assert program.machine() == before | {name.lower(): "1"}


@pytest.mark.parametrize("setting", ["bfloat16", "tensorfloat32", "highest"])
def test_a_sessions_default_precision_changes_no_program(unchecked, clip, setting):
    moments = {"all": Collected.zero(clip.config.vision)}
    images, weights = np.zeros((2, *clip.config.vision.image_size, 3), np.float32), np.ones(2, np.float32)
    plain = step.lower(moments, clip.vision, images, weights, {}, "normalized", None).as_text()
    with jax.default_matmul_precision(setting):
        other = step.lower(moments, clip.vision, images, weights, {}, "normalized", None).as_text()
    assert "dot_general" in plain
    assert other == plain


@pytest.mark.parametrize("name", ["jax", "jaxlib", "pillow", "numpy"])
def test_other_versions_are_another_run(clip, pictures, tmp_path, monkeypatch, name):
    source, held = open_data(pictures), program.program()
    out = begun(clip, source, tmp_path / "run")
    other = held | {"versions": held["versions"] | {name: "0.0.1"}}
    monkeypatch.setattr("jaxclip.runs.folder.program", lambda: other)
    with pytest.raises(ValueError, match=rf"cannot go on: versions\.{name} was .* and is \"0\.0\.1\""):
        run_pass(clip, source, out, TWO, accept=("code", "machine", "files"))


def test_hosts_that_differ_are_told_in_what(monkeypatch):
    other = program.program()
    other = other | {"versions": other["versions"] | {"pillow": "9.9"}, "code": "0" * 64}
    monkeypatch.setattr(hosts, "gather", lambda data: [data, json.dumps(other).encode()])
    said = r"same programs .*; code is .* on host 0 and .* on host 1; versions\.pillow is .* and \"9\.9\" on host 1"
    with pytest.raises(ValueError, match=said):
        hosts.agree(**program.program())


@pytest.mark.parametrize("place", [another, moved_in])
@pytest.mark.parametrize("contents", [False, True])
@pytest.mark.parametrize("seen", [True, False])
def test_a_file_replaced_before_it_goes_on_is_named(clip, data, tmp_path, place, contents, seen):
    out = begun(clip, open_data(data), tmp_path / "run", contents=contents)
    path = files(data)[0 if seen else 20]
    place(path)
    with pytest.raises(ValueError, match=rf"1 file of the data changed since .*; the first is {re.escape(str(path))}"):
        run_pass(clip, open_data(data), out, TWO, contents=contents)
    (out / "stamps.npy").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"stamps\.npy is damaged"):
        run_pass(clip, open_data(data), out, TWO)


def test_a_file_of_another_size_is_named(clip, data, tmp_path):
    out = begun(clip, open_data(data), tmp_path / "run")
    Image.new("RGB", (7, 7)).save(files(data)[1])
    said = rf"fingerprint was .* 1 file changed, the first is {re.escape(str(files(data)[1]))}"
    with pytest.raises(ValueError, match=said):
        run_pass(clip, open_data(data), out, TWO)


@pytest.mark.parametrize("how", ["contents", "accept"])
def test_data_that_moved_go_on_when_they_are_said_to_be_the_same(clip, data, tmp_path, how):
    whole = run_pass(clip, open_data(data), tmp_path / "whole", TWO)
    out = begun(clip, open_data(data), tmp_path / "run", contents=how == "contents")
    copy = shutil.copytree(data.parent, tmp_path / "copy") / "list.csv"
    options = {"contents": True} if how == "contents" else {"accept": ("files",)}
    if how == "accept":
        with pytest.raises(ValueError, match=r"if it is a copy of the same, pass accept=\('files',\)"):
            run_pass(clip, open_data(copy), out, TWO)
    run = run_pass(clip, open_data(copy), out, TWO, **options)
    assert run.names == whole.names
    said = {"n": 20, "first": [str(path) for path in files(copy) if path.exists()]}
    assert run.state.changes == ([{"n_batches": 1, "files": said}] if how == "accept" else [])
    for ours, theirs in zip(jax.tree.leaves(run.moments), jax.tree.leaves(whole.moments), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def change(path, how):
    match how:
        case "replaced":
            Image.new("RGB", (50, 40), (9, 9, 9)).save(path)
        case "cut":
            path.write_bytes(path.read_bytes()[:100])
        case "deleted":
            path.unlink()
        case "same size and time":
            another(path)
        case "renamed over":
            moved_in(path)


@pytest.mark.parametrize("how", ["replaced", "cut", "deleted", "same size and time", "renamed over"])
def test_a_file_that_changes_while_the_pass_runs(clip, data, tmp_path, how):
    source = open_data(data)
    late, early = files(data)[20], files(data)[0]

    def between(done, total):
        if done == BATCH:
            change(late, how)

    with pytest.raises(DataChanged, match=rf"{late.name} (has changed|is gone).* since the pass began; what was done"):
        run_pass(clip, source, tmp_path / "run", TWO, save_every=0.0, n_threads=1, progress=between)

    def afterwards(done, total):
        if done == total:
            change(early, how)

    other = open_data(data)
    with pytest.warns(
        UserWarning, match=rf"1 file of the data changed after being read, .*{early.name}; the run is of"
    ):
        run = run_pass(clip, other, tmp_path / "other", TWO, progress=afterwards)
    assert run.state.changes == [{"n_batches": 6, "files_after_reading": {"n": 1, "first": [str(early)]}}]
    assert jaxclip.open_run(run.folder).state.changes == run.state.changes


def test_a_file_that_comes_while_the_pass_runs(clip, data, tmp_path):
    source, order = open_data(data), Order.of(21, 4)
    listing = Listing.of(source)
    shutil.copy(files(data)[0], files(data)[11])  # it was not there
    with pytest.raises(DataChanged, match="was not there and has come since the pass began"):
        list(batches(source, PREPROCESS, order, listing=listing))


def test_files_of_many_images_are_asked_about_before_a_state_is_saved(clip, tmp_path):
    rng, out = np.random.default_rng(0), tmp_path / "run"
    records = rng.integers(0, 255, (9, 3073), np.uint8)
    records[:, 0] = np.arange(9)
    path = tmp_path / "cifar" / "test_batch.bin"
    path.parent.mkdir()
    path.write_bytes(records.tobytes())

    steps = []

    def between(done, total):
        steps.append(done)
        if len(steps) == 2:
            another(path)

    with pytest.raises(DataChanged, match=r"test_batch\.bin has changed"):
        run_pass(clip, open_data(path.parent), out, TWO, save_every=0.0, progress=between)
    assert jaxclip.open_run(out, unfinished=True).state.n_batches == 1


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_this_user_may_not_read_stops_the_pass(clip, data, tmp_path, what, monkeypatch):
    (data.parent / "in").mkdir()
    path = files(data)[0].replace(data.parent / "in" / "0.png")
    data.write_text(f"path\nin/0.png\n{files(data)[1].name}\n")
    source, out = open_data(data), tmp_path / "run"
    # Another user may not see this installation either: what is read of it is read before.
    run_pass(clip, source, tmp_path / "before", PassOptions(batch=2))
    known = program.program()
    monkeypatch.setattr(folder, "program", lambda: known)
    (path if what == "file" else path.parent).chmod(0)
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.is_relative_to(tempfile.gettempdir()) and parent != Path(tempfile.gettempdir()):
            parent.chmod(0o755)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)
        with pytest.raises(PermissionError, match=r"may not be read by this user .*Grant access and run the same"):
            run_pass(clip, source, out, PassOptions(batch=2))
    finally:
        os.seteuid(before)
        path.parent.chmod(0o755)
        path.chmod(0o644)


def test_a_lock_says_who_holds_it(clip, pictures, tmp_path):
    def again(done, total):
        said = rf"another process is running into .*: process {os.getpid()} on '.+', since 20.*kill -9 {os.getpid()}"
        with pytest.raises(FileExistsError, match=said):
            run_pass(clip, open_data(pictures), tmp_path / "run", TWO)

    run_pass(clip, open_data(pictures), tmp_path / "run", TWO, progress=again)


def test_a_run_of_the_format_before_is_read_and_does_not_go_on(clip, pictures, tmp_path):
    out = begun(clip, open_data(pictures), tmp_path / "run")
    info = json.loads((out / "run.json").read_text())
    old = {name: part for name, part in info.items() if name not in ("code", "machine", "decoders")}
    (out / "run.json").write_text(json.dumps(old | {"format": 3}))
    with pytest.raises(ValueError, match=r"cannot go on: .*format was 3 and is 4"):
        run_pass(clip, open_data(pictures), out, TWO)
    assert jaxclip.runs.folder.read_info(out)["format"] == 3
