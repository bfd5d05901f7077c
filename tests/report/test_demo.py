"""The demo end to end on few scenes, and the shipped CLIP's claims about itself."""

import json

import numpy as np
import pytest
from command import status
from PIL import Image

import jaxclip
from jaxclip.data import scenes
from jaxclip.report.demo import demo, factor_results

WEIGHTS = scenes.CHECKPOINT / "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def shipped():
    return jaxclip.load(scenes.CHECKPOINT)


def test_the_demo_explains_scenes_it_has_never_seen(tmp_path, capfd):
    assert status("demo", "--out", tmp_path / "out", "--n-scenes", 40, "--no-passes", "--json") == 0
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    printed, said = capfd.readouterr()
    assert json.loads(printed) == result
    assert not set(said) & {"\x1b", "\r"}
    assert all(check["holds"] for check in result["checks"])
    assert set(result["factors"]) == set(scenes.PROMPTS)
    for found in result["factors"].values():
        heads = np.array(found["heads"])
        np.testing.assert_allclose(heads.sum(1), found["attention_by_layer"], atol=1e-6)
        strongest = found["strongest_heads"][0]
        assert abs(strongest["effect"]) == np.abs(heads).max() == abs(heads[strongest["layer"], strongest["head"]])
    for name in ("map", *(f"heads_{factor}" for factor in scenes.PROMPTS)):
        with Image.open(tmp_path / "out" / f"{name}.png") as figure:
            assert min(figure.size) > 200
    assert (tmp_path / "out" / "model" / "manifest.json").is_file()
    demo(tmp_path / "out", 5, lambda text: None)  # again, over the first


def test_the_shipped_model_is_small_and_is_a_working_clip(shipped):
    assert WEIGHTS.stat().st_size <= 8 * 2**20
    vision = shipped.config.vision
    assert vision.n_layers >= 6
    assert vision.n_heads >= 4
    assert vision.n_tokens >= 65
    drawn = [scenes.scene(3, "test", i) for i in range(200)]
    images = shipped.preprocess([scene["image"] for scene in drawn])
    labels = {factor: np.array([scene["labels"][factor] for scene in drawn]) for factor in scenes.PROMPTS}
    found = factor_results(shipped, images, labels)
    floors = {"background": 0.95, "colour": 0.95, "shape": 0.8, "number": 0.7, "size": 0.7, "place": 0.7}
    for factor, floor in floors.items():
        assert found[factor]["accuracy"] >= floor
