"""Results print themselves usefully: shapes and a few numbers, never a screen of digits, and inside jit too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import towers

import jaxclip
from jaxclip.analyses.ablation import Ablation, Components
from jaxclip.analyses.debias import GroupCounts
from jaxclip.analyses.direct_effects import direct_effects, text_directions
from jaxclip.analyses.head_properties import PropertyShares
from jaxclip.analyses.segmentation.metrics import Segmented
from jaxclip.data.open_data import open_data
from jaxclip.data.text_pools import scenes_pool
from jaxclip.model.head_coordinates import head_state
from jaxclip.numerics.arrays import by_shapes
from jaxclip.numerics.moments import Moments
from jaxclip.runs.run_pass import PassOptions, run_pass


@pytest.fixture(scope="module")
def clip():
    return jaxclip.load("scenes")


@pytest.fixture(scope="module")
def finished(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown") / "run"
    return run_pass(clip, open_data("scenes", split="test", limit=20), folder, PassOptions(batch=20, bank=True))


def test_a_model_and_a_run_say_what_there_is(clip, finished):
    assert repr(clip).startswith("Clip('scenes': image 96 x 96, 6 layers of 4 heads; text of ")
    assert repr(finished).startswith(f"Run({str(finished.folder)!r}: 20 images; scenes; moments, bank; labels: ")
    assert repr(finished.bank) == f"Bank({str(finished.bank.folder)!r}: 20 images)"
    assert "Moments(of 20 samples of 35 numbers, a stack of [6, 4], in head" in repr(finished.moments)
    assert "colour" in repr(scenes_pool())


def test_decompositions_show_shapes():
    tower = towers.vision()
    images = np.zeros((2, *tower.config.image_size, 3), np.float32)
    embedding, contributions = tower(images)
    assert "attn [batch layer head token embed]" in repr(contributions)
    state = head_state(tower, images)
    assert repr(state).startswith(f"HeadState(embedding {list(embedding.shape)}, heads [2, ")
    assert repr(Components.of(contributions)).startswith("Components(init [2, ")


def test_results_say_the_numbers_that_matter(clip):
    rng = np.random.default_rng(0)
    basis = jaxclip.textspan(Moments.of(rng.normal(size=(50, 8))), np.eye(8, dtype=np.float32), steps=8)
    shares = np.asarray(basis.explained)
    assert f"explain {shares[0]:.0%}, {shares[1]:.0%}," in repr(basis)
    assert f"texts {int(basis.indices[0])}, " in repr(basis)
    assert repr(basis).endswith("100%)") or repr(basis).endswith("..)")
    counts = GroupCounts(jnp.array([3.0, 1.0]), jnp.array([4.0, 4.0]))
    assert repr(counts) == "GroupCounts(8 images, 50.0%; groups 75%, 25%)"
    segmented = Segmented(np.array([[3, 1], [0, 4]]), ap_total=0.5, n_images=1)
    assert "pixel accuracy 87.50%" in repr(segmented)
    assert "mean AP 50.00%" in repr(segmented)
    ranked = PropertyShares(jnp.full((1, 2), 0.25), jnp.array([[1.0, 0.25]]), jnp.full((1, 2), 0.5))
    assert "layer.head by score: 0.0 50%, 0.1 25%" in repr(ranked)
    assert repr(Ablation.of(2, 3, heads=[(0, 1)])) == "Ablation(heads [2, 3])"
    images = np.zeros((96, 96, 3), np.float32)
    effects = direct_effects(clip, images, text_directions(clip, ["a star", "grass"], relative=True))
    assert repr(effects) == (
        "Effects(total [2], init [2], heads [6, 4, 2], mlp [6, 2], tokens [65, 2], embedding [128], grid (8, 8))"
    )


def test_inside_jit_shapes_are_all_there_is():
    said = []

    @jax.jit
    def traced(samples):
        moments = Moments.of(samples)
        said.extend([repr(moments), repr(jaxclip.TextSpan(jnp.arange(3), samples, jnp.ones(3), samples[0]))])
        return moments.mean

    traced(jnp.ones((3, 4)))
    assert said == ["Moments(of samples of 4 numbers)", "TextSpan(indices [3], embed [4])"]
    assert by_shapes(jax.tree.map(lambda _: None, Ablation.of(2, 3))) == "Ablation()"
