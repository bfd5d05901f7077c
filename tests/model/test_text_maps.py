"""Text maps equal the full contributions contracted with the texts, and never build them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import towers
from flax import nnx
from test_decomposition import CONSTANTS, OPTIONS

from jaxclip.convert.formats.openclip import openclip_towers
from jaxclip.convert.registry import model_cfg
from jaxclip.model.text_maps import summed_first, text_maps
from jaxclip.model.vision import VisionTransformer


def directions(vision, n=5, seed=1):
    return np.random.default_rng(seed).standard_normal((n, vision.config.embed_dim)).astype(np.float32)


def contracted(vision, images, texts, constants="spread"):
    """Scores, and the map of every layer and head, the long way and in float64."""
    embedding, full = vision(images, constants=constants)
    texts = np.asarray(texts, np.float64)
    return np.asarray(embedding) @ texts.T, np.asarray(full.attn, np.float64) @ texts.T, full


def close(a, b, scores):
    """Within 1e-6 of the size of the scores, the whole of which maps are parts."""
    assert np.shape(a) == np.shape(b)
    assert np.abs(np.asarray(a) - b).max() < 1e-6 * max(np.abs(scores).max(), np.abs(b).max())


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("constants", CONSTANTS)
def test_maps_are_contributions_contracted_with_the_texts(options, constants):
    vision = towers.vision(**options)
    images, texts = towers.images(vision.config), directions(vision)
    scores, expected, _ = contracted(vision, images, texts, constants)
    # Random texts are longer than one; scores of that size are what the parts are measured by.
    mine, every = text_maps(vision, images, texts, each=True, constants=constants)
    close(mine, scores, scores)
    close(every, expected, scores)
    close(vision.map(images, texts, constants=constants), expected.sum((1, 2)), scores)


@pytest.mark.parametrize("constants", CONSTANTS)
def test_chosen_heads_are_those_heads_alone(constants):
    vision = towers.vision(layer_scale=True)
    images, texts = towers.images(vision.config), directions(vision)
    chosen = np.random.default_rng(0).integers(0, 2, (vision.config.n_layers, vision.config.n_heads)).astype(bool)
    scores, expected, _ = contracted(vision, images, texts, constants)
    kept = expected * chosen[:, :, None, None]
    close(vision.map(images, texts, heads=chosen, constants=constants), kept.sum((1, 2)), scores)
    close(vision.map(images, texts, heads=chosen, each=True, constants=constants), kept, scores)
    close(vision.map(images, texts, heads=~chosen) + vision.map(images, texts, heads=chosen),
          vision.map(images, texts), scores)  # fmt: skip


@pytest.mark.parametrize("constants", CONSTANTS)
def test_weighed_heads_are_the_sum_of_each_by_its_weight(constants):
    vision = towers.vision(layer_scale=True)
    images, texts = towers.images(vision.config), directions(vision)
    weights = np.random.default_rng(0).uniform(-1, 2, (vision.config.n_layers, vision.config.n_heads))
    weights = weights.astype(np.float32)
    scores, expected, _ = contracted(vision, images, texts, constants)
    kept = expected * weights[:, :, None, None]
    close(vision.map(images, texts, heads=weights, each=True, constants=constants), kept, scores)
    close(vision.map(images, texts, heads=weights, constants=constants), kept.sum((1, 2)), scores)


def test_the_map_and_the_other_terms_sum_to_the_score():
    vision = towers.vision()
    images, texts = towers.images(vision.config), directions(vision)
    scores, maps = text_maps(vision, images, texts)
    rest = vision(images, detail="layer")[1].project(texts)
    whole = np.asarray(maps, np.float64).sum(1) + rest.init + rest.mlp.sum(1)
    close(whole, np.asarray(scores), scores)
    close(scores, np.asarray(vision.embed(images)) @ texts.T, scores)


@pytest.mark.parametrize("each", [False, True])
def test_no_contribution_of_a_token_is_built(each):
    vision = towers.vision(image_size=(96, 64), patch_size=(4, 4), embed_dim=1024)
    images, texts = towers.images(vision.config, batch=4), directions(vision, 2)
    compiled = jax.jit(lambda v, x, r: v.map(x, r, each=each)).lower(vision, images, texts).compile()
    one_layer = 4 * vision.config.n_heads * vision.config.n_tokens * vision.config.embed_dim * 4
    assert compiled.memory_analysis().temp_size_in_bytes < one_layer
    shape = f"{vision.config.n_heads},{vision.config.n_tokens},{vision.config.embed_dim}]"
    assert shape not in compiled.as_text()


@pytest.mark.parametrize("constants", CONSTANTS)
def test_many_texts_meet_the_layers_once_and_few_in_every_layer(constants):
    """Either way the maps are the contributions contracted with the texts, and a text's map is the same."""
    vision = towers.vision(layer_scale=True)
    images, texts = towers.images(vision.config), directions(vision, 3 * vision.config.width)
    chosen = np.random.default_rng(0).uniform(size=(vision.config.n_layers, vision.config.n_heads)) > 0.3
    n_tokens = len(images) * vision.config.n_tokens
    assert [summed_first(n_tokens, vision.config.width, n) for n in (len(texts), 5)] == [True, False]
    scores, expected, _ = contracted(vision, images, texts, constants)
    for heads, counted in ((None, np.ones_like(chosen)), (chosen, chosen)):
        maps = np.asarray(vision.map(images, texts, heads=heads, constants=constants))
        close(maps, (expected * counted[:, :, None, None]).sum((1, 2)), scores)
        close(vision.map(images, texts[:5], heads=heads, constants=constants), maps[..., :5], scores)


def test_many_texts_are_not_carried_through_the_layers():
    vision = towers.vision()
    images = towers.images(vision.config)
    for n_texts, carried in ((3 * vision.config.width, False), (5, True)):
        text = jax.jit(lambda v, x, r: v.map(x, r)).lower(vision, images, directions(vision, n_texts)).as_text()
        (loop,) = re.findall(r"stablehlo\.while.*? : (.*)", text)
        assert (f"<{len(images)}x{vision.config.n_tokens}x{n_texts}x" in loop) == carried


def test_maps_of_a_thousand_texts_fit_where_the_contributions_do_not():
    """ViT-L/14, 8 images: the program beside its weights needs less than 2 GB, weights included."""
    vision = nnx.eval_shape(lambda: VisionTransformer(openclip_towers(model_cfg("ViT-L-14")).vision, nnx.Rngs(0)))
    images, texts = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((8, 224, 224, 3), (1000, 768)))
    memory = jax.jit(lambda v, x, r: v.map(x, r)).lower(vision, images, texts).compile().memory_analysis()
    needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    assert needed < 2e9 < 8 * 24 * 16 * 257 * 768 * 4


def test_maps_differentiate_and_vmap():
    vision = towers.vision()
    images, texts = towers.images(vision.config), directions(vision)
    one = jax.vmap(lambda image: vision.map(image[None], texts)[0])(jnp.asarray(images))
    scores, maps = text_maps(vision, images, texts)
    close(one, np.asarray(maps), scores)
    # The map is linear in the texts.
    slope = jax.jvp(lambda r: vision.map(images, r), (jnp.asarray(texts),), (jnp.asarray(texts[::-1]),))[1]
    close(slope, np.asarray(maps)[..., ::-1], scores)


def test_bad_input_says_what_to_do(unchecked):
    vision = towers.vision()
    images, texts = towers.images(vision.config), directions(vision)
    with pytest.raises(ValueError, match=r"texts must be \[text, 24\] with at least one text; got \[0, 24\]"):
        vision.map(images, texts[:0])
    with pytest.raises(ValueError, match=r"got \[5, 23\]"):
        vision.map(images, texts[:, 1:])
    with pytest.raises(ValueError, match=r"got \[24\]"):
        vision.map(images, texts[0])
    with pytest.raises(ValueError, match=r"mask heads must have shape \(3, 4\); got \(4, 3\)"):
        vision.map(images, texts, heads=np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"constants must be one of spread, separate; got 'none'"):
        vision.map(images, texts, constants="none")
    with pytest.raises(ValueError, match=r"images must be \[batch, 48, 32, 3\]; got \[2, 4, 4, 3\]"):
        vision.map(images[:, :4, :4], texts)
