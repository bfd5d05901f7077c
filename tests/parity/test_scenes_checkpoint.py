"""The CLIP of the scenes as it is shipped: open_clip and jaxclip load one folder and see the same."""

import json
import runpy
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import jaxclip
from jaxclip import convert
from jaxclip.config import ClipConfig, PreprocessConfig, TextConfig, VisionConfig
from jaxclip.data.scenes import CHECKPOINT, FACTORS, PROMPTS, prompts, scene
from jaxclip.model.params import flatten, shapes
from jaxclip.tokenizer import from_folder

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "export_scenes.py"
WEIGHTS = "open_clip_model.safetensors"
MOST_BYTES = 8_000_000
CONFIG = ClipConfig(
    name="scenes",
    vision=VisionConfig(
        image_size=(32, 32), patch_size=(8, 8), width=24, n_layers=2, n_heads=3, mlp_dim=96, embed_dim=16,
        activation="gelu",
    ),
    text=TextConfig(
        context=32, vocab_size=len(from_folder(CHECKPOINT, 32).backend), width=16, n_layers=2, n_heads=2, mlp_dim=64,
        embed_dim=16, activation="gelu",
    ),
    preprocess=PreprocessConfig(
        size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", resize_mode="shortest"
    ),
)  # fmt: skip
PRESET = {
    "pixels": 32, "patch": 8, "n_shards": 2, "shard": 500, "n_captions": 3, "batch": 50, "n_held_out": 40,
    "learning_rate": 1e-3, "weight_decay": 0.1, "warmup": 7, "shift": 1, "dtype": "float32",
}  # fmt: skip


def trained(folder, config=CONFIG):
    """What a finished training leaves, with noise for weights and a temperature beyond its bound."""
    rng = np.random.default_rng(0)
    leaves = {name: np.float32(0.2 * rng.standard_normal(shape)) for name, shape in shapes(CONFIG).items()}
    save_file({**leaves, "logit_scale": np.array(5.0, np.float32)}, folder / "params.safetensors")
    (folder / "config.json").write_text(json.dumps(asdict(config)))
    names = (*PROMPTS, *FACTORS["group"])
    accuracy = {name: 0.321 + i / 100 for i, name in enumerate(names)}
    report = {
        "accuracy": {"validation": accuracy, "test": accuracy},
        "steps": 1234, "seconds": 600.0, "device": "abacus", "versions": {"jax": "1.2.3"}, "preset": PRESET, "log": [],
    }  # fmt: skip
    (folder / "log.json").write_text(json.dumps(report))
    return leaves


def export(source, out):
    return runpy.run_path(str(SCRIPT))["export"](source, out, seed=0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    source = tmp_path_factory.mktemp("trained")
    leaves = trained(source)
    return leaves, export(source, tmp_path_factory.mktemp("out"))


@pytest.fixture(params=["exported now", "shipped"])
def folder(request, exported):
    if request.param == "exported now":
        return exported[1]
    if not (CHECKPOINT / WEIGHTS).is_file():
        pytest.skip(f"{CHECKPOINT.name}/{WEIGHTS} is not there yet: train_scenes.py, then export_scenes.py, write it")
    return CHECKPOINT


def test_both_libraries_see_the_same(open_clip, folder):
    import torch

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()
    words, clip = open_clip.get_tokenizer(f"local-dir:{folder}"), jaxclip.load(folder)
    # Pictures that are not of the model's size, so that resizing and cropping take part.
    pictures = [Image.fromarray(scene(2, "test", i, size=110)["image"]).crop((0, 0, 110, 100)) for i in range(6)]
    texts = [text for factor in PROMPTS for some in prompts(factor) for text in some[:1]]
    theirs_in = torch.stack([transform(picture) for picture in pictures])
    images, tokens = clip.preprocess(pictures), clip.tokenize(texts)
    np.testing.assert_allclose(images, theirs_in.permute(0, 2, 3, 1).numpy(), atol=1e-6)
    np.testing.assert_array_equal(tokens, words(texts).numpy())
    with torch.no_grad():
        wanted = {"image": model.encode_image(theirs_in).numpy(), "text": model.encode_text(words(texts)).numpy()}
    found = {"image": clip.vision(images, detail="layer")[0], "text": clip.encode_text(tokens)}
    for tower, embedding in wanted.items():
        error = np.linalg.norm(found[tower] - embedding, axis=-1) / np.linalg.norm(embedding, axis=-1)
        assert error.max() < 1e-5, tower
    assert float(clip.logit_scale) == model.logit_scale.item() <= np.float16(np.log(100))


def test_the_folder_is_small_and_says_everything(folder):
    assert (folder / WEIGHTS).stat().st_size <= MOST_BYTES
    config, params, words, _ = convert.read(folder)
    assert (words.kind, words.folder) == ("own", folder)
    fields = json.loads((folder / "open_clip_config.json").read_text())
    assert fields["preprocess_cfg"].keys() == {
        "size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color",
    }  # fmt: skip
    assert {name: leaf.shape for name, leaf in flatten(params)} == shapes(config)
    text = (folder / "README.md").read_text()
    for name in (*PROMPTS, *(group.replace("_", " ") for group in FACTORS["group"])):
        assert f"\n| {name} | " in text
    assert "Apache-2.0" in text
    assert "{" not in text


def test_the_shipped_model_can_be_taken_apart(folder):
    """At least six layers of four heads and 64 patches; what was exported now is a toy."""
    if folder != CHECKPOINT:
        pytest.skip("a toy of two layers")
    vision = jaxclip.load(folder).config.vision
    assert vision.n_layers >= 6
    assert vision.n_heads >= 4
    assert vision.n_tokens - 1 >= 64


def test_export_rounds_once_and_bounds_the_temperature(exported):
    leaves, out = exported
    _, params, _, _ = convert.read(out)
    for name, leaf in flatten(params):
        wanted = np.log(100) if name == "logit_scale" else leaves[name]
        np.testing.assert_array_equal(leaf, np.float16(wanted).astype(leaf.dtype), err_msg=name)


def test_the_card_is_made_from_the_log(exported):
    text = (exported[1] / "README.md").read_text()
    for fact in ("1,000 procedural scenes", "1,234 steps of 50", "10 minutes on abacus", "jax 1.2.3", "warmup"):
        assert fact in text
    rows = dict(line.strip("| ").split(" | ", 1) for line in text.splitlines() if line.startswith("| "))
    assert rows["background"].startswith("8 | 32.1 | 32.1 | 12.5 | ")
    assert rows["shape"].startswith("8 | 33.1 | 33.1 | 12.5 | ")
    assert [rows[name.replace("_", " ")].split(" | ")[0] for name in FACTORS["group"]] == ["47.5", "2.5", "2.5", "47.5"]


@pytest.mark.parametrize("missing", ["params.safetensors", "config.json", "log.json"])
def test_a_run_that_has_not_finished_is_not_exported(tmp_path, missing):
    trained(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {missing}; pass the --out folder of a finished training"):
        export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_config_are_not_exported(tmp_path):
    trained(tmp_path, replace(CONFIG, text=replace(CONFIG.text, vocab_size=99)))
    with pytest.raises(ValueError, match=r"is not of the config beside it: text.token_embedding\."):
        export(tmp_path, tmp_path / "out")
