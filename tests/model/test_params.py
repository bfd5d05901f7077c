"""The table of parameters, and the modules made from it."""

import jax
import numpy as np
import pytest
import towers
from flax import nnx

from jaxclip.config import TextConfig, VisionConfig
from jaxclip.model.params import flatten, text_leaves, text_sizes, unflatten, vision_leaves, vision_sizes
from jaxclip.model.text import TextTransformer
from jaxclip.model.vision import VisionTransformer

VISION = [{}, {"ln_pre": False}, {"layer_scale": True}, {"pool": "mean", "ln_pre": False, "layer_scale": True}]
TEXT = [{}, {"projection": "linear_bias"}, {"projection": "none", "embed_dim": 32}, {"layer_scale": True}]


def _shapes(make):
    state = nnx.to_pure_dict(nnx.state(nnx.eval_shape(make)))
    return {path: leaf.shape for path, leaf in flatten(state)}


@pytest.mark.parametrize("changes", VISION)
def test_the_image_tower_holds_what_the_table_lists(changes):
    config = VisionConfig(**towers.VISION | changes)
    expected = {path: leaf.shape(vision_sizes(config)) for path, leaf in vision_leaves(config).items()}
    assert _shapes(lambda: VisionTransformer(config, nnx.Rngs(0))) == expected


@pytest.mark.parametrize("changes", TEXT)
def test_the_text_tower_holds_what_the_table_lists(changes):
    config = TextConfig(**towers.TEXT | changes)
    expected = {path: leaf.shape(text_sizes(config)) for path, leaf in text_leaves(config).items()}
    assert _shapes(lambda: TextTransformer(config, nnx.Rngs(0))) == expected


def test_untrained_weights_are_spread_as_openclip_spreads_them(open_clip):
    """The text tower's have a rule of OpenCLIP's own; norms start at one, biases at zero, in both."""
    config = TextConfig(**towers.TEXT | {"width": 64, "mlp_dim": 256, "n_layers": 3, "vocab_size": 500})
    ours = nnx.to_pure_dict(nnx.state(TextTransformer(config, nnx.Rngs(0))))
    theirs = open_clip.transformer.TextTransformer(
        context_length=config.context, vocab_size=config.vocab_size, width=config.width, heads=config.n_heads,
        layers=config.n_layers, output_dim=config.embed_dim,
    )  # fmt: skip
    block = theirs.transformer.resblocks[1]
    pairs = {
        "token_embedding": theirs.token_embedding.weight, "positional_embedding": theirs.positional_embedding,
        "projection.kernel": theirs.text_projection, "blocks.attn_in.kernel": block.attn.in_proj_weight,
        "blocks.attn_out.kernel": block.attn.out_proj.weight, "blocks.mlp_in.kernel": block.mlp.c_fc.weight,
        "blocks.mlp_out.kernel": block.mlp.c_proj.weight,
    }  # fmt: skip
    found = dict(flatten(ours))
    for path, weight in pairs.items():
        np.testing.assert_allclose(np.std(found.pop(path)), weight.detach().numpy().std(), rtol=0.1, err_msg=path)
    assert all((leaf == path.endswith("scale")).all() for path, leaf in found.items()), found.keys()


def test_a_seed_keeps_its_meaning():
    """Parameters are drawn one after another from one stream of keys, the projection's last."""
    config = VisionConfig(**towers.VISION)
    tower, rngs = VisionTransformer(config, nnx.Rngs(3)), nnx.Rngs(3)
    for leaf in (tower.class_embedding, tower.positional_embedding, tower.patch_embedding, tower.blocks.attn_in.kernel):
        drawn = jax.random.normal(rngs.params(), leaf.shape)
        np.testing.assert_allclose(leaf[...] / np.std(leaf[...]), drawn / np.std(drawn), rtol=1e-5)
    for _ in ("attn_out", "mlp_in", "mlp_out"):
        rngs.params()
    drawn = jax.random.normal(rngs.params(), tower.projection.shape)
    np.testing.assert_array_equal(tower.projection[...], config.width**-0.5 * drawn)


def test_trees_and_dotted_paths_are_each_others_inverse():
    leaves = {"a": 1, "b.c": 2, "b.d.e": 3}
    assert dict(flatten(unflatten(leaves))) == leaves
