"""Where NaN enters is where it is said to be, whichever command meets it."""

import numpy as np
import pytest
import small
import towers
from command import only_line, status
from PIL import Image

from jaxclip.clip import fill
from jaxclip.config import ClipConfig, Compute, PreprocessConfig, TextConfig, VisionConfig
from jaxclip.files.checkpoint import save
from jaxclip.files.tokenizer_files import TokenizerSource
from jaxclip.model.nonfinite import (
    check_texts,
    explain_nonfinite,
    first_nonfinite,
    first_nonfinite_text,
    nonfinite_weights,
)
from jaxclip.model.text import TextTransformer


def spoil(tower, path, place, value=np.nan):
    """The tower with one number of a weight replaced."""
    parent = tower
    *parents, name = path.split(".")
    for part in parents:
        parent = getattr(parent, part)
    weight = getattr(parent, name)
    weight[...] = weight[...].at[place].set(value)
    return tower


def spoilt(path, place, value=np.nan, **options):
    return spoil(towers.vision(**options), path, place, value)


CASES = {
    "positional_embedding": ((0, 0), "before layer 0"),
    "blocks.attn_out.kernel": ((1, 2, 0, 0), "the MLP of layer 1"),
    "blocks.attn_in.bias": ((1, 2, 3, 0), "attention of layer 1, head 3"),
    "blocks.mlp_out.bias": ((2, 5), "the MLP of layer 2"),
    "projection": ((3, 3), "final LayerNorm and projection"),
}


@pytest.mark.parametrize("path", CASES)
def test_the_first_place_is_named(path):
    place, expected = CASES[path]
    vision = spoilt(path, place)
    images = towers.images(vision.config, 2)
    assert all(expected in found for found in first_nonfinite(vision, images))
    assert nonfinite_weights(vision) == [path]
    said = explain_nonfinite(vision, images, ["a.png", "b.png"])
    assert said.startswith("a.png: ")
    assert expected in said
    assert f"the weights {path} hold NaN" in said


def test_one_bad_image_among_good_ones():
    vision = towers.vision()
    images = towers.images(vision.config, 3)
    assert first_nonfinite(vision, images) == [None] * 3
    images[1, 40, 7, 0] = np.inf
    found = first_nonfinite(vision, images)
    assert [place is None for place in found] == [True, False, True]
    said = explain_nonfinite(vision, images, ["a", "b", "c"])
    assert said.startswith("b: the model gives NaN or infinity, first in the image itself, after preprocessing;")


def test_an_embedding_without_a_norm_is_said_to_be_one():
    vision = towers.vision()
    vision.projection[...] = 0 * vision.projection[...]
    assert "norm of the embedding is zero" in explain_nonfinite(vision, towers.images(vision.config, 1), ["a"])


TEXT_CASES = {
    "token_embedding": ((7, 0), "the embedding of tokens and positions, before layer 0"),
    "positional_embedding": ((0, 0), "the embedding of tokens and positions, before layer 0"),
    "blocks.attn_in.bias": ((1, 2, 3, 0), "attention of layer 1"),
    "blocks.mlp_out.bias": ((0, 5), "the MLP of layer 0"),
    "projection.kernel": ((3, 3), "the sum of all layers, or the final LayerNorm and projection"),
}


@pytest.mark.parametrize("path", TEXT_CASES)
def test_the_first_place_in_a_text_tower_is_named(path):
    place, expected = TEXT_CASES[path]
    tokens = np.array([[3, 4, 49] + [0] * 9, [7, 5, 6, 49] + [0] * 8], np.int32)
    assert first_nonfinite_text(towers.text(), tokens) == [None, None]
    text = spoil(towers.text(), path, place)
    places = [None, expected] if path == "token_embedding" else [expected] * 2
    assert first_nonfinite_text(text, tokens) == places
    named = "a cat" if places[0] else "a dog"
    with pytest.raises(ValueError, match=f"'{named}': .* first in {expected}; the weights {path} hold NaN"):
        check_texts(text(tokens), text, tokens, ["a cat", "a dog"])


def test_a_dtype_that_is_too_narrow_is_said_to_be():
    text = towers.text()
    params = towers.params(text)
    for kind in ("attn_out", "mlp_out"):
        # Each by itself is below float16's largest number, 65504.
        params["blocks"][kind]["bias"] = params["blocks"][kind]["bias"] + np.float32(4e4)
    text = fill(TextTransformer, text.config, params, Compute(dtype="float16"))
    tokens = np.array([[3, 4, 49] + [0] * 9], np.int32)
    with pytest.raises(ValueError, match="first in the MLP of layer 0; float16 is too narrow for it"):
        check_texts(text(tokens), text, tokens, ["a"])


PATHS = {"vision": "blocks.mlp_out.bias", "text": "blocks.attn_out.bias"}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A model folder for each tower, one of whose weights in layer 1 is NaN, and a picture."""
    folder = tmp_path_factory.mktemp("broken")
    config = ClipConfig(
        name="small", vision=VisionConfig(**towers.VISION), text=TextConfig(**towers.TEXT | {"vocab_size": 49408}),
        preprocess=PreprocessConfig(**small.PREPROCESS),
    )  # fmt: skip
    for tower, path in PATHS.items():
        params = small.params(config)
        _, kind, leaf = path.split(".")
        params[tower]["blocks"][kind][leaf][1, 2] = np.nan
        # Converting refuses such weights; here they get past it.
        words = TokenizerSource(kind="clip", why="a test")
        save(folder / tower, config, params, provenance={}, tokenizer=words)
    (folder / "data").mkdir()
    Image.new("RGB", (60, 50), (10, 200, 90)).save(folder / "data" / "grass.png")
    return folder


SAID = {"vision": "the MLP of layer 1; the weights blocks.mlp_out.bias", "text": "attention of layer 1; the weights"}
COMMANDS = {
    "run": ("vision", "run", "{model}", "{data}"),
    "verify": ("vision", "verify", "{model}"),
    "decompose": ("vision", "decompose", "{model}", "{data}/grass.png", "--texts", "a dog", "grass"),
    "heatmap": ("vision", "heatmap", "{model}", "{data}/grass.png", "a dog", "grass"),
    "segment": ("vision", "segment", "{model}", "{data}", "--classes", "dog", "cat"),
    "segment classes": ("vision", "segment", "{model}", "{data}", "--classes", "dog", "cat", "--way", "classes"),
    "segment windows": ("vision", "segment", "{model}", "{data}", "--classes", "dog", "cat", "--window", "64"),
    "decompose a text": ("text", "decompose", "{model}", "{data}/grass.png", "--texts", "a dog", "grass"),
    "heatmap of a text": ("text", "heatmap", "{model}", "{data}/grass.png", "a dog", "grass"),
    "segment by texts": ("text", "segment", "{model}", "{data}", "--classes", "dog", "cat"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stops_and_names_the_layer(broken, tmp_path, capsys, name):
    tower, *words = COMMANDS[name]
    words = [word.format(model=broken / tower, data=broken / "data") for word in words]
    assert status(*words, "--out", tmp_path / "out") == 1
    said = only_line(capsys.readouterr())
    assert SAID[tower] in said
    assert ("grass.png" if words[0] != "verify" else "probe image 0") in said or tower == "text"
    assert not list(tmp_path.rglob("results.json"))


def test_texts_of_a_run_are_checked_too(broken, tmp_path, capsys):
    assert status("run", broken / "text", broken / "data", "--out", tmp_path / "run") == 0
    capsys.readouterr()
    (tmp_path / "pool.txt").write_text("a dog\na cat\n")
    arguments = ("--texts", tmp_path / "pool.txt", "--steps", "1", "--out", tmp_path / "out")
    assert status("textspan", tmp_path / "run", *arguments) == 1
    assert SAID["text"] in only_line(capsys.readouterr())
