"""Weights that do not fit what the checkpoint says it is: every gap is named, and positions are resized or refused."""

import json

import numpy as np
import pytest
from parity import checkpoints

from jaxclip import convert
from jaxclip.convert import CheckpointError
from jaxclip.convert.readers.safetensors import open_safetensors, write_safetensors
from jaxclip.numerics.ops import resize_positions


def test_one_error_lists_every_gap(open_clip, tmp_path):
    checkpoints.make_openclip(tmp_path)
    path = tmp_path / "open_clip_model.safetensors"
    tensors = {name: tensor.read() for name, tensor in open_safetensors(path).items()}
    del tensors["visual.proj"]
    tensors["visual.surplus"] = np.zeros(3, np.float32)
    tensors["ln_final.bias"] = np.zeros(7, np.float32)
    tensors["logit_scale"] = np.zeros((), np.int64)
    write_safetensors(path, tensors)
    with pytest.raises(CheckpointError) as caught:
        convert.read(tmp_path)
    for gap in (
        "4 gaps",
        "missing: visual.proj",
        "left over: visual.surplus [3]",
        "misshapen: ln_final.bias is [7], expected [32]",
        "not floating point: logit_scale is int64",
    ):
        assert gap in str(caught.value)
    assert "without them" not in str(caught.value)


def test_a_head_that_was_trained_on_top_is_told_how_to_leave(open_clip, tmp_path):
    checkpoints.make_openclip(tmp_path)
    path = tmp_path / "open_clip_model.safetensors"
    tensors = {name: tensor.read() for name, tensor in open_safetensors(path).items()}
    write_safetensors(path, tensors | {"classifier.weight": np.zeros((2, 24), np.float32)})
    with pytest.raises(CheckpointError, match=r"left over: classifier.weight \[2, 24\]\n.*save its state dict without"):
        convert.read(tmp_path)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, "float32", "ln_final.bias holds NaN"),
        (np.inf, "float32", "ln_final.bias holds NaN or infinity"),
        (1e6, "float16", "ln_final.bias has values that float16 cannot hold; pass dtype='float32'"),
    ],
)
def test_a_number_that_is_none_is_an_error(open_clip, tmp_path, value, dtype, message):
    checkpoints.make_openclip(tmp_path)
    path = tmp_path / "open_clip_model.safetensors"
    tensors = {name: tensor.read() for name, tensor in open_safetensors(path).items()}
    tensors["ln_final.bias"][0] = value
    write_safetensors(path, tensors)
    with pytest.raises(CheckpointError, match=message):
        convert.read(tmp_path, dtype=dtype)


@pytest.mark.parametrize(("old", "new"), [((4, 4), (7, 7)), ((4, 4), (2, 3)), ((3, 5), (6, 4)), ((7, 7), (7, 7))])
def test_positions_resize_as_in_pytorch(open_clip, old, new):
    import torch
    from torch.nn.functional import interpolate

    positions = np.random.default_rng(0).standard_normal((1 + old[0] * old[1], 9)).astype(np.float32)
    grid = torch.tensor(positions[1:]).reshape(1, *old, 9).permute(0, 3, 1, 2)
    theirs = interpolate(grid, new, mode="bicubic", antialias=True, align_corners=False)
    theirs = theirs.permute(0, 2, 3, 1).reshape(-1, 9).numpy()
    ours = resize_positions(positions, old, new)
    np.testing.assert_array_equal(ours[0], positions[0])
    np.testing.assert_allclose(ours[1:], theirs, atol=2e-6)


def test_image_size_resizes_positions_as_open_clip_does(open_clip, tmp_path):
    checkpoints.make_openclip(tmp_path)
    model = open_clip.create_model(f"local-dir:{tmp_path}", force_image_size=(48, 40))
    config, params, _, provenance = convert.read(tmp_path, image_size=(48, 40))
    assert config.vision.grid == (6, 5)
    assert config.preprocess.size == (48, 40)
    theirs = model.visual.positional_embedding.detach().numpy()
    np.testing.assert_allclose(params["vision"]["positional_embedding"], theirs, atol=2e-6)
    assert "bicubic" in provenance["options"]["position_embedding"]["why"]


def test_weights_of_another_grid_than_the_config_are_resized_and_recorded(open_clip, tmp_path):
    checkpoints.make_openclip(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": checkpoints.config(vision_image_size=64)}))
    model = open_clip.create_model(f"local-dir:{tmp_path}")
    _, params, _, provenance = convert.read(tmp_path)
    theirs = model.visual.positional_embedding.detach().numpy()
    np.testing.assert_allclose(params["vision"]["positional_embedding"], theirs, atol=2e-6)
    assert provenance["options"]["position_embedding"]["value"] == "resized to (8, 8)"


def test_positions_for_another_size_than_the_named_model_has_are_asked_about(open_clip, tmp_path):
    """Fine-tuned at 48 pixels, and named like a model of 32: neither is taken for the other."""
    import torch

    model = checkpoints.build(checkpoints.config(vision_image_size=48))
    torch.save(model.state_dict(), tmp_path / "tuned.pt")
    (tmp_path / "tiny.json").write_text(json.dumps(checkpoints.CFG))
    told = {"model": str(tmp_path / "tiny.json"), "activation": "gelu", "preprocess": "openai-bicubic-shortest"}
    with pytest.raises(
        CheckpointError, match=r"images of \[32, 32\] .* positions for \[48, 48\]; pass image_size=48 to"
    ):
        convert.read(tmp_path / "tuned.pt", **told)
    config, params, _, _ = convert.read(tmp_path / "tuned.pt", **told, image_size=48)
    np.testing.assert_array_equal(
        params["vision"]["positional_embedding"], model.visual.positional_embedding.detach().numpy()
    )
    assert config.preprocess.size == (48, 48)
    assert convert.read(tmp_path / "tuned.pt", **told, image_size=32)[0].vision.grid == (4, 4)
    (tmp_path / "other.json").write_text(json.dumps(checkpoints.config(vision_patch_size=16)))
    with pytest.raises(CheckpointError, match=r"misshapen: visual.conv1.weight"):  # the patches differ, not the size
        convert.read(tmp_path / "tuned.pt", **told | {"model": str(tmp_path / "other.json")})
