"""What tells one run's model from another, and what a run's model is loaded as."""

from dataclasses import replace

import numpy as np
import pytest
import small_pass
from command import scenes_run, with_info

import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.runs.folder import model_hash
from jaxclip.runs.inputs import run_model
from jaxclip.runs.run_pass import run_pass


@pytest.mark.parametrize(
    "changes",
    [{"mean": (0.1, 0.5, 0.6)}, {"std": (0.2, 0.3, 0.3)}, {"interpolation": "bilinear"}, {"library": "transformers"}],
)
def test_another_preprocessing_is_another_model(changes):
    clip = small_pass.clip()
    other = replace(clip, config=replace(clip.config, preprocess=replace(clip.config.preprocess, **changes)))
    assert model_hash(other) != model_hash(clip)
    assert model_hash(replace(clip)) == model_hash(clip)


def test_another_text_side_is_the_same_image_tower():
    clip = small_pass.clip()
    assert model_hash(replace(clip, config=replace(clip.config, name="renamed"))) == model_hash(clip)


@pytest.mark.parametrize(("dtype", "precision"), [("float32", "high"), ("bfloat16", "default")])
def test_a_runs_model_calculates_as_the_run_did(tmp_path, dtype, precision):
    run = jaxclip.open_run(scenes_run(tmp_path / "run", limit=4))
    compute = run.info["model"]["compute"] | {"dtype": dtype, "precision": precision}
    other = with_info(tmp_path / "run", tmp_path / "other", "model", compute=compute)
    # A run in another dtype has other weights, and another hash; what is asked here is how they are loaded.
    loaded = jaxclip.load(run.info["model"]["source"], dtype=dtype, precision=precision)
    with_info(other, tmp_path / "last", "model", hash=model_hash(loaded))
    clip = run_model(jaxclip.open_run(tmp_path / "last"))
    assert (clip.vision.compute.dtype, clip.vision.compute.precision) == (dtype, precision)


def test_rows_of_a_raw_bank_that_could_not_be_read_are_nan(tmp_path, tmp_path_factory):
    data = open_data(small_pass.pictures(tmp_path_factory.getbasetemp()))
    run = run_pass(small_pass.clip(), data, tmp_path / "run", replace(small_pass.EVERYTHING, units="raw"))
    lost = sorted(run.errors)
    assert len(lost) == 2
    for name in ("heads", "mlp", "init", "embedding", "class_attn", "norm"):
        held = np.asarray(run.bank.read(name))
        assert len(held) == len(data)
        assert np.isnan(held[lost]).all(), name
        # And so for other readers of the folder, to whom `rows` says nothing.
        assert np.isnan(run.bank.array(name).read().result()[lost]).all(), name
        assert np.isfinite(np.delete(held, lost, 0)).all(), name
