"""A pass over a data set: exact, whole whatever interrupts it, and only ever the run it began as."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import towers
from PIL import Image

import jaxclip
from jaxclip import pass_step, passes
from jaxclip.cli import main
from jaxclip.clip import Clip
from jaxclip.config import ClipConfig, PreprocessConfig
from jaxclip.data.scenes import scene
from jaxclip.data.sources import open_data
from jaxclip.passes import PassOptions, run_pass
from jaxclip.tokenizer import MissingTokenizer

BATCH = 4
GOLDEN = str(Path(__file__).parent / "golden")
"""A small checkpoint in OpenCLIP's format."""
EVERYTHING = PassOptions(batch=BATCH, by=("label", "group"), bank=True)
PREPROCESS = PreprocessConfig(
    size=(48, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), interpolation="bicubic", resize_mode="squash"
)


def small_clip(seed=0):
    vision = towers.vision(seed)
    config = ClipConfig(name="small", vision=vision.config, text=None, preprocess=PREPROCESS)
    return Clip(vision, None, jnp.float32(1), None, config, MissingTokenizer("none"))


@pytest.fixture(scope="module")
def clip():
    return small_clip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """21 pictures in an order of their own; numbers 3 and 11 of it cannot be read, and number 5 has no label."""
    path, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    order, rows = rng.permutation(21), ["path,label,group"]
    for place, number in enumerate(order):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(path / f"{number}.png")
        rows.append(f"{number}.png,{'' if place == 5 else number % 3},{'ab'[number % 2]}")
    (path / f"{order[3]}.png").write_bytes(b"broken")
    (path / f"{order[11]}.png").unlink()
    (path / "list.csv").write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def source(folder):
    return open_data(folder / "list.csv")


@pytest.fixture(scope="module")
def run(clip, source, tmp_path_factory):
    return run_pass(clip, source, tmp_path_factory.mktemp("runs") / "whole", EVERYTHING)


@pytest.fixture(scope="module")
def expected(clip, run, folder):
    """The readable images' terms in float64, from the tower's own decomposition of one image after another."""
    terms = []
    for name in run.names:
        embedding, contributions = clip.vision(clip.preprocess(folder / name), detail="full")
        values = {
            "heads": contributions.reduce("head").attn, "mlp": contributions.mlp, "init": contributions.init,
            "class_attn": contributions.attn[:, :, :, 0].sum(2), "embedding": embedding,
        }  # fmt: skip
        norm = np.linalg.norm(np.float64(embedding))
        terms.append({kind: np.float64(value[0]) / norm for kind, value in values.items()} | {"norm": norm})
    return {kind: np.stack([term[kind] for term in terms]) for kind in terms[0]}


def contents(folder):
    """Every file of a run that says something about images, byte for byte."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.name != "run.json"}


def assert_same(folder, other):
    ours, theirs = contents(folder), contents(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_names_labels_and_what_could_not_be_read(run, folder):
    rows = [line.split(",") for line in (folder / "list.csv").read_text().splitlines()[1:]]
    readable = [row for place, row in enumerate(rows) if place not in (3, 11)]
    assert run.names == [row[0] for row in readable]
    assert run.n_images == len(run.bank) == 19
    np.testing.assert_array_equal(run.labels["label"], [int(row[1] or -1) for row in readable])
    groups = [run.label_names["group"][index] for index in run.labels["group"]]
    assert groups == [row[2] for row in readable]
    for kind in ("label", "group"):
        np.testing.assert_array_equal(run.bank.labels(kind), run.labels[kind])
    assert [name for name, _ in run.unreadable] == [rows[3][0], rows[11][0]]
    assert "no image that Pillow can read" in run.unreadable[0][1]
    assert "no such file" in run.unreadable[1][1]


def test_the_bank_holds_every_contribution(run, expected):
    contributions = np.einsum("blhu,lhue->blhe", run.bank.read("heads"), run.matrices)
    np.testing.assert_allclose(contributions, expected["heads"], rtol=0, atol=1e-6)
    for name in ("mlp", "init", "class_attn", "embedding"):
        np.testing.assert_allclose(run.bank.read(name), expected[name], rtol=0, atol=1e-6)
    np.testing.assert_allclose(run.bank.read("norm"), expected["norm"], rtol=1e-6)
    np.testing.assert_array_equal(run.bank.head(2, 1), run.bank.read("heads")[:, 2, 1])
    np.testing.assert_array_equal(run.bank.read("mlp", np.array([7, 2])), run.bank.read("mlp")[[7, 2]])


def test_the_state_of_images_sums_to_their_embedding(run):
    state = run.head_state(slice(4, 9))
    total = state.contributions(run.matrices).total()
    np.testing.assert_allclose(total, state.embedding, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(state.embedding, run.bank.read("embedding")[4:9])


def check_moments(moments, samples):
    """A stack of moments against NumPy's of samples [n, *stack, e]."""
    samples = np.moveaxis(samples, 0, -2)
    np.testing.assert_allclose(moments.mean, samples.mean(-2), rtol=0, atol=1e-6)
    centred = samples - samples.mean(-2, keepdims=True)
    covariance = np.einsum("...ne,...nf->...ef", centred, centred) / samples.shape[-2]
    np.testing.assert_allclose(moments.covariance, covariance, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(moments.count, samples.shape[-2])


@pytest.mark.parametrize("component", ["heads", "mlp", "init", "class_attn", "embedding"])
def test_moments_are_those_of_the_contributions(run, expected, component):
    check_moments(getattr(run.moments, component), expected[component])


@pytest.mark.parametrize("component", ["heads", "mlp", "init"])
@pytest.mark.parametrize("kind", ["label", "group"])
def test_moments_by_label_are_those_of_its_images(run, expected, component, kind):
    for value, name in enumerate(run.label_names[kind]):
        chosen = run.labels[kind] == value
        assert 0 < chosen.sum() < run.n_images
        check_moments(getattr(run.moments_by(kind, name), component), expected[component][chosen])


def test_means_are_what_ablation_takes(run, expected):
    np.testing.assert_allclose(run.means().heads, expected["heads"].mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(run.means().total(), expected["embedding"].mean(0), rtol=0, atol=1e-6)


def test_raw_units_and_half_the_size(clip, source, expected, tmp_path):
    options = PassOptions(batch=BATCH, bank=True, bank_dtype="float16", units="raw")
    run = run_pass(clip, source, tmp_path / "run", options)
    raw = {name: x * expected["norm"].reshape(-1, *[1] * (x.ndim - 1)) for name, x in expected.items()}
    # float16 keeps 11 bits.
    np.testing.assert_allclose(run.bank.read("mlp"), raw["mlp"], rtol=2**-11, atol=1e-6)
    np.testing.assert_allclose(run.moments.mlp.mean, raw["mlp"].mean(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 21, 50])
def test_the_batch_size_changes_nothing_but_rounding(clip, source, run, tmp_path, batch):
    other = run_pass(clip, source, tmp_path / "run", PassOptions(batch=batch, bank=True))
    assert other.names == run.names
    np.testing.assert_allclose(other.bank.read("heads"), run.bank.read("heads"), rtol=0, atol=1e-5)
    np.testing.assert_allclose(other.moments.heads.covariance, run.moments.heads.covariance, rtol=0, atol=1e-6)


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
                patch.setattr(passes.os, "fsync", stop_later(os.fsync))
            case "state":
                patch.setattr(np, "savez", stop_later(np.savez))
            case "rename":
                left[0] = 3
                patch.setattr("pathlib.Path.replace", stop_later(type(tmp_path).replace))
            case "begin":
                left[0] = 1
                patch.setattr("pathlib.Path.replace", stop_later(type(tmp_path).replace))
        with pytest.raises(Stop):
            run_pass(clip, source, tmp_path / "run", EVERYTHING, save_every=0.0)
    run_pass(clip, source, tmp_path / "run", EVERYTHING)
    assert_same(tmp_path / "run", run.folder)


KILLED = """
import os, signal, sys
sys.path[:0] = [sys.argv[1]]
import test_passes as t
def kill(done, total):
    if done >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
t.run_pass(t.small_clip(), t.open_data(sys.argv[2]), sys.argv[3], t.EVERYTHING, save_every=0.0, progress=kill)
"""


def test_killed_at_a_random_step_it_ends_with_the_same_bits(clip, folder, source, run, tmp_path):
    step = int(np.random.default_rng().integers(1, 6))
    tests = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, "-c", KILLED, tests, folder / "list.csv", tmp_path / "run", str(step * BATCH)]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    state = jaxclip.open_run(tmp_path / "run", unfinished=True).state
    assert state.n_batches == step - 1
    run_pass(clip, source, tmp_path / "run", EVERYTHING)
    assert_same(tmp_path / "run", run.folder)


def test_an_ended_run_is_only_opened(clip, source, run):
    before = contents(run.folder)
    seen = []
    again = run_pass(clip, source, run.folder, EVERYTHING, progress=lambda done, total: seen.append(done))
    assert (again.names, seen, contents(run.folder)) == (run.names, [], before)


@pytest.mark.parametrize("change", ["model", "data", "options", "versions"])
def test_it_never_goes_on_as_another_run(clip, source, folder, tmp_path, monkeypatch, change):
    options, other = PassOptions(batch=BATCH), clip
    run_pass(clip, source, tmp_path / "run", options)
    before = contents(tmp_path / "run")
    match change:
        case "model":
            other, message = small_clip(1), r"model\.hash was"
        case "data":
            source, message = open_data(folder / "list.csv", limit=20), r"data\.fingerprint was .*n_images was 21"
        case "options":
            options, message = replace(options, batch=5), r"options\.batch was 4 and is 5"
        case "versions":
            monkeypatch.setattr("jaxclip.__version__", "9.9")
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


def test_one_program_serves_every_batch(clip, source, tmp_path):
    pass_step.step.clear_cache()
    run_pass(clip, source, tmp_path / "run", PassOptions(batch=BATCH))
    assert pass_step.step._cache_size() == 1


def test_no_image_can_be_read(clip, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 1 images could be read; the first is a\.png"):
        run_pass(clip, open_data(tmp_path / "data"), tmp_path / "run")


def test_one_image(clip, tmp_path):
    (tmp_path / "data").mkdir()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "data" / "a.png")
    run = run_pass(clip, open_data(tmp_path / "data"), tmp_path / "run", PassOptions(bank=True))
    assert (run.n_images, float(run.moments.init.count)) == (1, 1)
    np.testing.assert_allclose(run.moments.embedding.mean, run.bank.read("embedding")[0], atol=1e-7)
    # Rounding of float32, squared.
    np.testing.assert_allclose(run.moments.heads.variance, 0, atol=1e-14)


def test_a_model_that_gives_nan_is_found_out(clip, source, tmp_path):
    broken = replace(clip, vision=jax.tree.map(lambda x: x * np.nan, clip.vision))
    with pytest.raises(ValueError, match="the model gives NaN"):
        run_pass(broken, source, tmp_path / "run", PassOptions(batch=BATCH))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"moments": False}, "leaves nothing behind"),
        ({"moments": False, "bank": True, "by": ("label",)}, "asks for moments"),
        ({"units": "metres"}, "units must be one of normalized, raw"),
    ],
)
def test_options_that_make_no_sense(unchecked, options, message):
    with pytest.raises(ValueError, match=message):
        PassOptions(**options)


def test_groups_that_are_not_there(clip, source, tmp_path):
    with pytest.raises(ValueError, match="no labels of kind colour; it has label, group"):
        run_pass(clip, source, tmp_path / "run", PassOptions(by=("colour",)))


class TestOpening:
    @pytest.fixture
    def copy(self, run, tmp_path):
        import shutil

        return shutil.copytree(run.folder, tmp_path / "copy")

    def test_no_run(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="is no run"):
            jaxclip.open_run(tmp_path)

    def test_a_bank_cut_short(self, copy):
        for file in (copy / "bank" / "mlp").rglob("0"):
            if file.is_file():
                file.unlink()
        with pytest.raises(ValueError, match="mlp is cut short: 19 images are missing"):
            jaxclip.open_run(copy).bank.read("mlp")

    def test_a_damaged_bank(self, copy):
        file = max((path for path in (copy / "bank" / "heads" / "c").rglob("*")), key=lambda p: p.stat().st_size)
        held = bytearray(file.read_bytes())
        held[1000] ^= 1
        file.write_bytes(held)
        with pytest.raises(ValueError, match="heads is damaged"):
            jaxclip.open_run(copy).bank.read("heads")

    @pytest.mark.parametrize("name", ["state.npz", "images.jsonl", "run.json"])
    def test_a_file_cut_short(self, copy, name):
        held = (copy / name).read_bytes()
        (copy / name).write_bytes(held[: len(held) // 2])
        with pytest.raises(ValueError, match="run it again"):
            jaxclip.open_run(copy)

    def test_what_was_not_kept(self, clip, source, tmp_path):
        run = run_pass(clip, source, tmp_path / "run", PassOptions(batch=BATCH))
        with pytest.raises(FileNotFoundError, match="--bank"):
            run.bank.read("mlp")
        with pytest.raises(ValueError, match="has moments by none, not by 'label'"):
            run.moments_by("label", 0)

    def test_a_value_that_is_not_there(self, run):
        for value in ("c", 2, -1):
            with pytest.raises(ValueError, match="group has the values a, b; got"):
                run.moments_by("group", value)

    def test_a_head_that_is_not_there(self, run):
        with pytest.raises(ValueError, match=r"layers 0 to 2 of 4 heads; got head 3\.0"):
            run.bank.head(3, 0)


def test_the_record_says_what_ran(run, source):
    info = json.loads((run.folder / "run.json").read_text())
    assert info["data"]["fingerprint"] == source.fingerprint()
    assert len(info["model"]["hash"]) == 64
    assert info["versions"]["jax"] == jax.__version__
    assert info["options"]["batch"] == BATCH


def test_the_command(tmp_path, capsys):
    command = ["run", GOLDEN, "scenes", "--split", "validation", "--limit", "6", "--batch", "4", "--by", "bird"]
    command += ["background", "--bank", "--bank-dtype", "float16", "--out", str(tmp_path / "run"), "--json"]
    for _ in range(2):
        with pytest.raises(SystemExit) as exit_:
            main(command)
        shown = capsys.readouterr()
        assert (exit_.value.code, json.loads(shown.out)["n_images"]) == (0, 6)
        assert shown.err == f"wrote {tmp_path / 'run'}: 6 images\n"  # no bar where there is no terminal
    run = jaxclip.open_run(tmp_path / "run")
    drawn = [scene(0, "validation", index)["labels"] for index in range(6)]
    for kind in ("bird", "background", "group"):
        np.testing.assert_array_equal(run.labels[kind], [labels[kind] for labels in drawn])
    birds = [float(run.moments_by("bird", bird).init.count) for bird in ("duck", "finch")]
    assert birds == [sum(labels["bird"] == value for labels in drawn) for value in (0, 1)]
    assert (run.info["model"]["source"], run.info["data"]["source"]) == (GOLDEN, "scenes")

    with pytest.raises(SystemExit) as exit_:
        main([*command, "--batch", "3"])
    assert exit_.value.code == 1
    assert "options.batch was 4 and is 3" in capsys.readouterr().err
