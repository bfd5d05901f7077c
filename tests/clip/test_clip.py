"""A checkpoint as one object: what load gives, and what it says when something is missing."""

import jax
import numpy as np
import pytest
import towers
from PIL import Image

import jaxclip
from jaxclip.analyses.direct_effects import direct_effects, text_directions
from jaxclip.config import ClipConfig, Compute, PreprocessConfig
from jaxclip.convert import convert, export_openclip
from jaxclip.files import checkpoint
from jaxclip.zeroshot import accuracy, class_embeddings, contrast

PREPROCESS = PreprocessConfig(
    size=(48, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), interpolation="bicubic", resize_mode="squash"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An OpenCLIP checkpoint of small random towers that read CLIP's own vocabulary."""
    vision, text = towers.vision(), towers.text(vocab_size=49408, context=12)
    config = ClipConfig(name="small", vision=vision.config, text=text.config, preprocess=PREPROCESS)
    params = {"vision": towers.params(vision), "text": towers.params(text), "logit_scale": np.float32(2.0)}
    path = tmp_path_factory.mktemp("openclip") / "small"
    export_openclip(params, config, path)
    return path


@pytest.fixture(scope="module")
def clip(folder):
    return jaxclip.load(folder)


def picture(size=(70, 50), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def test_the_readmes_line_holds(clip):
    embedding, contributions = clip.vision(clip.preprocess([picture()]))
    assert np.abs(contributions.total() - embedding).max() < 1e-6 * np.linalg.norm(embedding)
    assert clip.config.vision.activation == "gelu"
    assert np.isclose(clip.logit_scale, 2.0)


def test_a_converted_folder_is_the_same_model(clip, folder, tmp_path):
    again = jaxclip.load(convert(folder, tmp_path / "out"))
    assert again.config.vision == clip.config.vision
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(clip), strict=True):
        np.testing.assert_array_equal(a, b)
    texts = ["a photo of a dog", "rain"]
    np.testing.assert_array_equal(again.tokenize(texts), clip.tokenize(texts))


def test_a_clip_is_a_pytree(clip):
    def score(clip, images, tokens):
        return clip.encode_image(images, normalize=True) @ clip.encode_text(tokens, normalize=True).T

    images, tokens = clip.preprocess([picture(), picture(seed=1)]), clip.tokenize(["a cat", "two dogs", ""])
    scores = jax.jit(score)(clip, images, tokens)
    assert scores.shape == (2, 3)
    assert np.abs(scores).max() <= 1 + 1e-6
    gradient = jax.grad(lambda clip: score(clip, images, tokens).sum())(clip)
    assert float(np.abs(gradient.vision.projection[...]).max()) > 0


def test_weights_and_compute_may_be_bfloat16(folder, clip):
    half = jaxclip.load(folder, dtype="bfloat16")
    assert half.vision.projection[...].dtype == "bfloat16"
    assert half.vision.compute == Compute(dtype="bfloat16")
    images = clip.preprocess([picture()])
    embedding, contributions = half.vision(images)
    exact = clip.encode_image(images)
    assert np.abs(contributions.total() - embedding).max() < 1e-6 * np.linalg.norm(embedding)
    assert np.linalg.norm(embedding - exact) < 3e-2 * np.linalg.norm(exact)  # eight bits of mantissa


def test_another_input_size_resizes_the_position_embeddings(folder):
    large = jaxclip.load(folder, image_size=(96, 64))
    assert large.config.vision.grid == (6, 8)
    embedding, contributions = large.vision(large.preprocess([picture()]), detail="token")
    assert contributions.attn.shape[1] == 49
    assert np.abs(contributions.total() - embedding).max() < 1e-6 * np.linalg.norm(embedding)


def test_a_checkpoint_without_a_tokenizer_says_so_only_when_asked(tmp_path):
    vision, text = towers.vision(), towers.text(vocab_size=50)
    config = ClipConfig(name="mute", vision=vision.config, text=text.config, preprocess=PREPROCESS)
    params = {"vision": towers.params(vision), "text": towers.params(text), "logit_scale": np.float32(0)}
    export_openclip(params, config, tmp_path / "mute")
    clip = jaxclip.load(tmp_path / "mute")
    assert clip.encode_text(np.array([[3, 4, 49, 0]])).shape == (1, 24)
    with pytest.raises(ValueError, match="no tokenizer: it brings no tokenizer, and its vocabulary of 50"):
        clip.tokenize(["a"])


def test_a_foreign_text_tower_leaves_the_image_side_usable(clip):
    config = ClipConfig(
        name="half", vision=clip.config.vision, text=None, preprocess=PREPROCESS, text_missing="it is a RoBERTa."
    )
    params = {"vision": towers.params(clip.vision), "logit_scale": np.float32(0)}
    from jaxclip.clip import build

    half = build(config, params, Compute(), clip.tokenizer)
    assert half.encode_image(clip.preprocess([picture()])).shape == (1, 24)
    with pytest.raises(ValueError, match="half has no text tower here: it is a RoBERTa"):
        half.encode_text(np.zeros((1, 4), int))


def test_the_model_that_comes_along_loads_by_name_and_says_how_exact_its_sum_is():
    scenes = jaxclip.load("scenes")
    embedding, contributions = scenes.vision(scenes.preprocess([picture()]))
    assert 0 < contributions.check(embedding) < 1e-6
    assert contributions.check(1.01 * embedding) > 1e-4
    assert "attn [1, 6, 4, 65, 128]" in repr(contributions)


def test_an_unknown_dtype_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"Compute.dtype must be one of float32, .*; got 'float64'"):
        jaxclip.load("scenes", dtype="float64")


def test_wrong_parameters_are_all_named(clip):
    from jaxclip.clip import fill
    from jaxclip.model.vision import VisionTransformer

    params = towers.params(clip.vision)
    del params["projection"]
    params["extra"] = np.zeros(3)
    with pytest.raises(ValueError, match="of another shape: extra, projection"):
        fill(VisionTransformer, clip.config.vision, params, Compute())


def test_nothing_there_is_one_sentence(tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match="nowhere"):
        jaxclip.load(tmp_path / "nowhere")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    assert not checkpoint.is_checkpoint(tmp_path / "half")


def test_direct_effects_sum_to_the_similarity(clip):
    texts = ["a dog", "a red car", "snow"]
    pixels = clip.preprocess([picture()])
    for relative in (False, True):
        directions = text_directions(clip, texts, relative=relative)
        effects = direct_effects(clip, pixels[0], directions)
        expected = np.asarray(clip.encode_image(pixels, normalize=True) @ directions.T)[0]
        np.testing.assert_allclose(effects.total, expected, atol=1e-6)
        total = effects.init + effects.heads.sum((0, 1)) + effects.mlp.sum(0)
        np.testing.assert_allclose(total, expected, atol=1e-6)
        np.testing.assert_allclose(effects.tokens.sum(0), effects.heads.sum((0, 1)), atol=1e-6)
        assert effects.map().shape == (3, *clip.config.vision.grid)
        (layer, head, effect), *_ = effects.strongest(1)
        assert effect == effects.heads[layer, head, 1]
        assert abs(effect) == np.abs(effects.heads[:, :, 1]).max()
    embeddings = text_directions(clip, texts, relative=False)
    cosines = np.float64(embeddings) @ np.float64(clip.encode_image(pixels, normalize=True))[0]
    for i, found in enumerate(effects.to_dict(texts, embeddings).values()):
        assert found["similarity"] == pytest.approx(cosines[i], abs=1e-6)
        assert found["contrast"] == pytest.approx(cosines[i] - cosines.mean(), abs=1e-6)
        assert found["contrast"] == pytest.approx(effects.total[i], abs=1e-6)
    assert abs(effects.total.sum()) < 1e-6  # relative: the texts' mean is gone
    with pytest.raises(ValueError, match="two or more"):
        text_directions(clip, ["a dog"], relative=True)


def test_classes_are_means_of_unit_prompts(clip):
    prompts = [["a dog", "one dog"], ["a cat"]]
    classes = class_embeddings(clip, prompts, batch=2)
    single = np.asarray(clip.encode_text(clip.tokenize(["a dog", "one dog", "a cat"]), normalize=True), np.float64)
    mean = single[:2].mean(0)
    np.testing.assert_allclose(classes[0], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(classes[1], single[2], atol=1e-6)
    assert accuracy(np.asarray(classes), classes, np.array([0, 0])) == 0.5
    np.testing.assert_allclose(contrast(classes).sum(0), 0, atol=1e-6)
    with pytest.raises(ValueError, match="at least one prompt"):
        class_embeddings(clip, [["a"], []])
