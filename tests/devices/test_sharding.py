"""Eight devices see what one device sees, whether they share the batch, the heads or both."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import mesh_worker
import numpy as np
import pytest
import small
import towers
from PIL import Image

import jaxclip
from jaxclip.config import VisionConfig
from jaxclip.data.open_data import open_data
from jaxclip.devices import sharding
from jaxclip.numerics.moments import Moments, combined
from jaxclip.planner.work import work
from jaxclip.runs.run_pass import run_pass
from jaxclip.runs.sharded_moments import summed
from jaxclip.runs.state import by_key

MESHES = tuple(mesh_worker.MESHES)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small.export_two_layers(tmp_path_factory.mktemp("mesh") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """19 pictures, of which one cannot be read and one has no label: the last batch of 8 is padded."""
    path, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    rows = ["path,label"]
    for number in range(19):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(path / f"{number}.png")
        rows.append(f"{number}.png,{'' if number == 4 else number % 3}")
    (path / "9.png").write_bytes(b"broken")
    (path / "list.csv").write_text("\n".join(rows))
    return path / "list.csv"


@pytest.fixture(scope="module")
def eight(model, data, tmp_path_factory):
    """What eight devices made, and in `hlo` the programs that they ran."""
    out = tmp_path_factory.mktemp("eight")
    # Machine code need not be good: that makes it in half the time.
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    dump = f"--xla_dump_to={out / 'hlo'} --xla_dump_hlo_as_text --xla_dump_hlo_module_re=jit_step"
    environment = os.environ | {"XLA_FLAGS": f"{flags} {dump}", "JAX_PLATFORMS": "cpu"}
    worker = Path(mesh_worker.__file__)
    done = subprocess.run([sys.executable, worker, model, data, out], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def one(model, data, tmp_path_factory):
    """The same pass on one device, with everything that either of the others keeps."""
    assert len(jax.devices()) == 1
    return run_pass(jaxclip.load(model), open_data(data), tmp_path_factory.mktemp("one") / "run", mesh_worker.SHARED)


@pytest.fixture(scope="module")
def runs(model, data, eight):
    """One pass by eight devices, each with its part of the batch; and one that two times four began and one ended."""
    assert jaxclip.open_run(eight / "both", unfinished=True).state.n_batches == 1
    # The worker compiles with less care than this process, which counts as another machine.
    accept = ("machine",)
    ended = run_pass(jaxclip.load(model), open_data(data), eight / "both", mesh_worker.BY, accept=accept)
    return {"data": jaxclip.open_run(eight / "data"), "both": ended}


@pytest.mark.parametrize("mesh", MESHES)
def test_every_detail_is_that_of_one_device(model, eight, mesh):
    vision = jaxclip.load(model).vision
    embedding, parts = jax.jit(mesh_worker.decompositions)(vision, mesh_worker.images(vision.config))
    scale = np.abs(np.asarray(embedding)).max()
    with np.load(eight / "details.npz") as held:
        np.testing.assert_allclose(held[f"{mesh}/embedding"], embedding, rtol=0, atol=1e-6 * scale)
        for detail, terms in parts.items():
            for term in ("init", "attn", "mlp"):
                found = held[f"{mesh}/{detail}/{term}"]
                np.testing.assert_allclose(found, getattr(terms, term), rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("mesh", MESHES)
def test_what_grows_with_the_batch_stays_where_it_was_made(model, eight, mesh):
    config = jaxclip.load(model).config.vision
    parts, heads = mesh_worker.MESHES[mesh]
    with np.load(eight / "details.npz") as held:
        shard = tuple(held[f"{mesh}/shard"])
    assert shard == (8 // parts, config.n_layers, config.n_heads // heads, config.n_tokens, config.embed_dim)


@pytest.mark.parametrize("mesh", MESHES)
def test_moments_are_those_of_one_device(runs, one, mesh):
    run = runs[mesh]
    assert run.names == one.names
    assert run.unreadable == one.unreadable
    assert_close(run.moments, one.moments)
    for value in range(3):
        assert_close(run.moments_by("label", value), one.moments_by("label", value))


def assert_close(ours, theirs):
    for name in ("heads", "mlp", "init", "class_attn", "embedding"):
        found, expected = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_array_equal(found.count, expected.count)
        np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.covariance, expected.covariance, rtol=0, atol=1e-6)


def test_the_bank_is_that_of_one_device(runs, one):
    for name in ("embedding", "heads", "mlp", "init", "class_attn"):
        np.testing.assert_allclose(runs["data"].bank.read(name), one.bank.read(name), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mesh", MESHES)
def test_textspan_picks_the_same_texts(runs, one, mesh):
    texts = np.random.default_rng(1).standard_normal((40, small.TWO_LAYERS["embed_dim"])).astype(np.float32)

    def picks(run):
        return jax.vmap(lambda head: jaxclip.textspan(head, texts, steps=4).indices)(_flat(run.moments.heads))

    np.testing.assert_array_equal(picks(runs[mesh]), picks(one))


EXACT = ("ablations", "completeness", "debias", "picks", "neighbours", "foreground labels", "labelled labels")


@pytest.mark.parametrize("mesh", MESHES)
def test_every_analysis_finds_what_one_device_finds(model, eight, mesh):
    run = jaxclip.open_run(eight / "data")
    expected = mesh_worker.analyses(run, jaxclip.load(model))
    assert 0.1 < expected["ablations"].mean() < 0.9
    with np.load(eight / f"analyses_{mesh}.npz") as found:
        assert found.files == list(expected)
        for name, values in expected.items():
            if name in EXACT:
                np.testing.assert_array_equal(found[name], values, err_msg=name)
            else:
                scale = max(1, np.abs(values).max())
                np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-6 * scale, err_msg=name)


def test_nothing_but_moments_crosses_devices_that_share_a_batch(eight, one):
    text = sorted((eight / "hlo").glob("*jit_step*after_optimizations.txt"))[0].read_text()
    found = work(text)
    assert {crossing.kind for crossing in found.collectives} == {"all-reduce"}
    assert {crossing.devices for crossing in found.collectives} == {8}
    assert list(one.state.moments) == ["all", by_key("label")]
    moments = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(one.state.moments))
    crossed = sum(crossing.bytes * crossing.times for crossing in found.collectives)
    # Besides, a count and a largest value of each stack, of which there are a few.
    assert 0.9 * moments < crossed < 1.1 * moments
    assert "all-gather" not in text


def _flat(heads):
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), heads)


def test_moments_of_parts_are_summed_to_more_than_float32():
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal((7, 30, 5)) * [1, 10, 0.1, 1, 3] + [5, 0, 1, 100, -3]).astype(np.float32)
    weights = np.ones((7, 30), np.float32)
    weights[3] = 0  # a device that has nothing but padding
    found = jax.jit(lambda x, w: summed(jax.vmap(Moments.of)(x, w)))(samples, weights)
    counted = np.float64(samples[weights > 0])
    assert found.count == len(counted)
    # What a float32 of the standard deviation rounds off, however large the mean is.
    assert np.all(np.abs(wide(found.centre) - counted.mean(0)) < 6e-8 * counted.std(0))
    spread = len(counted) * np.cov(counted.T, bias=True)
    assert np.abs(wide(found.spread) - spread).max() < 2e-8 * np.abs(spread).max()


def wide(pair):
    return np.float64(pair.value) + np.float64(pair.rest)


def test_no_part_has_anything():
    empty = jax.tree.map(lambda x: jnp.stack([x, x]), Moments.zero(3))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(summed(empty)))


def test_summing_is_merging_in_one_step():
    stack = jax.vmap(Moments.of)(np.random.default_rng(1).standard_normal((4, 9, 3)).astype(np.float32))
    ours, theirs = summed(stack), combined(stack)
    assert ours.count == theirs.count
    np.testing.assert_allclose(wide(ours.centre), wide(theirs.centre), rtol=0, atol=1e-7)
    np.testing.assert_allclose(wide(ours.spread), wide(theirs.spread), rtol=0, atol=2e-8 * ours.spread.value.max())


@dataclass(frozen=True)
class Device:
    """A device of a host that is not here, as far as a mesh asks."""

    id: int
    process_index: int
    platform: str = "cpu"
    device_kind: str = "cpu"


@pytest.mark.parametrize("model", [1, 2])
def test_a_hosts_devices_lie_side_by_side_however_they_are_numbered(model):
    devices = [Device(number, host) for number, host in enumerate([1, 0, 2, 0, 1, 2, 0, 2, 1, 1, 2, 0])]
    mesh = sharding.make_mesh(model=model, devices=devices[::-1])
    assert mesh.axis_names == ("data", "model")
    assert mesh.devices.shape == (12 // model, model)
    assert [device.id for device in mesh.devices.ravel()] == [1, 3, 6, 11, 0, 4, 8, 9, 2, 5, 7, 10]
    with pytest.raises(ValueError, match="devices of one host, 4; got model=3"):
        sharding.make_mesh(model=3, devices=devices)


def test_what_cannot_be_split_is_refused():
    config = VisionConfig(**towers.VISION)
    with pytest.raises(ValueError, match="number of devices, 1; got data=2 and model=2"):
        sharding.make_mesh(2, 2)
    with pytest.raises(ValueError, match="at least 1"):
        sharding.make_mesh(1, 0)
    assert sharding.default_mesh() is None
    with pytest.raises(ValueError, match=r"batch of 12 .* pass batch=16"):
        sharding.check({"data": 8, "model": 1}, config, 12)
    with pytest.raises(ValueError, match="4 heads and 100 neurons"):
        sharding.check({"data": 1, "model": 3}, config, 12)
    sharding.check({"data": 3, "model": 4}, config, 12)
    with pytest.raises(ValueError, match="4 heads and 102 neurons"):
        sharding.check({"data": 1, "model": 4}, VisionConfig(**towers.VISION | {"mlp_dim": 102}), 12)
