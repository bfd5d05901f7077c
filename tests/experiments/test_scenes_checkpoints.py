"""A training step, saved as the trainer saves it, opens as the model it was; then what its heads know is told."""

import sys
from pathlib import Path

import numpy as np
import pytest

import jaxclip
from jaxclip.convert import open_checkpoint
from jaxclip.data.scenes import CHECKPOINT
from jaxclip.model.params import flatten

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    yield
    for name in ("scenes_checkpoints", "scenes_presets", "scenes_data", "specialisation"):
        sys.modules.pop(name, None)


@pytest.fixture
def saved(tmp_path):
    """Two steps, the second with the shipped model's weights and the first with all of them halved."""
    import orbax.checkpoint as ocp

    _, params, _ = open_checkpoint(CHECKPOINT)
    leaves = {path: np.asarray(leaf, np.float32) for path, leaf in flatten(params)}
    with ocp.CheckpointManager(tmp_path, options=ocp.CheckpointManagerOptions(max_to_keep=2)) as manager:
        for step, factor in ((10, 0.5), (20, 1.0)):
            state = {
                "params": {path: np.float32(factor) * leaf for path, leaf in leaves.items()},
                "step": np.asarray(step, np.int32),
            }
            args = ocp.args.Composite(state=ocp.args.StandardSave(state), log=ocp.args.JsonSave({"log": []}))
            manager.save(step, args=args)
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # Orbax has its own about restoring without a template
def test_a_training_step_opens_as_the_model_it_was(scripts, saved):
    from scenes_checkpoints import load_step, open_model, training_steps

    assert training_steps(saved) == [10, 20]
    ours, shipped = load_step(saved / "20"), jaxclip.load(CHECKPOINT)
    assert ours.config.vision == shipped.config.vision
    assert ours.config.text == shipped.config.text
    assert ours.config.preprocess == shipped.config.preprocess
    image = np.random.default_rng(0).integers(0, 256, (1, *shipped.config.vision.image_size, 3), np.uint8)
    pixels = shipped.preprocess(list(image))
    np.testing.assert_allclose(ours.encode_image(pixels), shipped.encode_image(pixels), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ours.tokenize("a duck on water"), shipped.tokenize("a duck on water"))
    assert open_model(str(saved / "10")).config.name == "scenes, step 10"
    with pytest.raises(FileNotFoundError, match="holds no checkpoints of a training"):
        training_steps(saved / "20")


@pytest.mark.filterwarnings("ignore")
def test_a_factor_that_orders_a_head_is_its_share(scripts, saved):
    """Head coordinates that follow a label in one head alone."""
    from scenes_checkpoints import load_step
    from specialisation import factor_share, summary

    clip = load_step(saved / "20")
    config, rng = clip.config.vision, np.random.default_rng(0)
    values = rng.integers(0, 4, 120)
    heads = rng.standard_normal((120, config.n_layers, config.n_heads, config.head_dim + 3)).astype(np.float32)
    heads[:, 2, 1] *= 0.01
    heads[:, 2, 1, :4] += np.eye(4)[values]
    share = factor_share(clip, heads, values)
    assert share[2, 1] > 0.95
    others = np.delete(share.ravel(), 2 * config.n_heads + 1)
    assert others.max() < 0.2
    found = summary([10, 20, 30], {"shape": np.stack([0 * share, 0.6 * share, share])}, {"shape": [0, 0, 1]})
    expected = {"layer": 2, "head": 1, "share": pytest.approx(share[2, 1]), "since": 20}
    assert found["specialists"]["shape"] == expected
