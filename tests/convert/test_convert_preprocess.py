"""Preprocessing and architecture as a checkpoint's own files state them, or an error that says what to pass."""

import json

import pytest
from parity import checkpoints

from jaxclip import convert
from jaxclip.convert import CheckpointError
from jaxclip.convert.formats.huggingface import huggingface_towers
from jaxclip.convert.formats.openclip import openclip_towers
from jaxclip.convert.formats.preprocess import OPENAI, huggingface_preprocess, openclip_preprocess


def test_absent_preprocessing_takes_the_formats_own_values_and_says_so(unchecked):
    found, defaults = openclip_preprocess({"mean": [0.1, 0.2, 0.3], "size": 999}, (32, 48))
    assert (found.size, found.interpolation, found.resize_mode) == ((32, 48), "bicubic", "shortest")
    assert any("std" in word for word in defaults)
    assert not any("mean" in word for word in defaults)
    for wrong in ({"gamma": 2.2}, {"mode": "L"}, {"interpolation": "random"}, {"resize_mode": "crop"}, [1]):
        with pytest.raises(ValueError, match=r"gamma|mode|interpolation|resize_mode|\[1\]"):
            openclip_preprocess(wrong, (32, 32))


@pytest.mark.parametrize(
    ("stored", "fill"),
    [
        (None, 0), (0, 0), (0.0, 0), (127.5, 127), ([0, 0, 0], 0), ([9], 9), ([255.0, 255.0, 255.0], 255),
        ([123, 117, 104], (123, 117, 104)), ([123.7, 0, 0], (123, 0, 0)), ([], 0),
    ],
)  # fmt: skip
def test_padding_may_be_a_level_or_a_colour(unchecked, stored, fill):
    found, _ = openclip_preprocess({"fill_color": stored, "resize_mode": "longest"}, (32, 32))
    assert found.fill == fill
    config = openclip_towers(checkpoints.config()).config("x", found)
    assert config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("stored", [256, -1, [1, 2], [1, 2, 3, 4], "black", [True, True, True], {"r": 1}, [None] * 3])
def test_padding_that_is_no_colour_is_refused(unchecked, stored):
    with pytest.raises(CheckpointError, match="fill_color must be one number of 0 to 255, or three, red, green and b"):
        openclip_preprocess({"fill_color": stored}, (32, 32))


@pytest.mark.parametrize(("stored", "mean"), [(0.5, (0.5,) * 3), (None, OPENAI["mean"]), ([], OPENAI["mean"])])
def test_one_mean_for_all_channels_as_open_clip_takes_it(unchecked, stored, mean):
    assert openclip_preprocess({"mean": stored, "interpolation": ""}, (32, 32))[0].mean == mean


def test_interpolation_at_random_says_what_to_pass(open_clip, tmp_path):
    """OpenCLIP's own transform runs it as bicubic."""
    checkpoints.make_openclip(tmp_path, preprocess=checkpoints.PREPROCESS | {"interpolation": "random"})
    with pytest.raises(CheckpointError, match=r"embeds with bicubic: write 'bicubic' .*'openai-bicubic-shortest'"):
        convert.read(tmp_path)
    assert convert.read(tmp_path, preprocess="openai-bicubic-shortest")[0].preprocess.interpolation == "bicubic"


HF_IMAGES = {
    "do_resize": True, "size": {"shortest_edge": 32}, "resample": 3, "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32}, "do_normalize": True, "image_mean": [0, 0, 0], "image_std": [1, 1, 1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "mode"),
    [
        ({}, "shortest"),
        ({"size": 32, "crop_size": 32}, "shortest"),
        ({"size": {"height": 32, "width": 32}, "do_center_crop": False}, "squash"),
        ({"size": {"height": 32, "width": 32}}, "squash"),
    ],
)
def test_hugging_face_preprocessing(change, mode):
    found = huggingface_preprocess(HF_IMAGES | change, (32, 32))
    assert (found.resize_mode, found.interpolation, found.std) == (mode, "bicubic", (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_resize": False}, "do_resize off"),
        ({"do_rescale": False}, "do_rescale off"),
        ({"do_normalize": False}, "do_normalize off"),
        ({"rescale_factor": 1.0}, r"scales by 1.0"),
        ({"rescale_factor": 1 / 127.5}, r"scales by 0\.00784"),
        ({"rescale_factor": 1 / 256}, r"scales by 0\.00390625"),
        ({"resample": 1}, "resample=1"),
        ({"resample": None}, "lacks resample"),
        ({"image_mean": None}, "lacks image_mean"),
        ({"size": {"shortest_edge": 40}}, "neither a shortest-side resize"),
        ({"do_center_crop": False}, "neither a shortest-side resize"),
        ({"size": {"height": 32, "width": 32}, "crop_size": 24}, "neither a shortest-side resize"),
        ({"do_dither": True}, "not known: do_dither"),
    ],
)
def test_hugging_face_preprocessing_that_cannot_be_honoured(change, message):
    with pytest.raises(CheckpointError, match=f"{message}.*pass preprocess="):
        huggingface_preprocess(HF_IMAGES | change, (32, 32))


def test_hugging_face_folder_without_preprocessing_says_what_to_pass(open_clip, tmp_path):
    checkpoints.make_hf(tmp_path, preprocessor=False)
    with pytest.raises(CheckpointError, match="does not say how its images were prepared"):
        convert.read(tmp_path)
    assert convert.read(tmp_path, preprocess="openai-bicubic-shortest")[0].preprocess.resize_mode == "shortest"


@pytest.mark.parametrize(
    ("eos", "pool"), [(2, ("argmax", None)), (49407, ("eos", 49407)), (None, ("eos", 49407)), (59, ("eos", 59))]
)
def test_hugging_face_pools_text_as_transformers_does(eos, pool):
    fields = {"model_type": "clip", "text_config": {"eos_token_id": eos, "hidden_act": "gelu"}, "vision_config": {}}
    towers = huggingface_towers(fields)
    assert (towers.text.pool, towers.text.eos_id) == pool
    assert (towers.text.activation, towers.vision.activation) == ("gelu", "quick_gelu")


def test_hugging_face_says_its_epsilon_tower_by_tower():
    fields = {"model_type": "clip", "text_config": {"layer_norm_eps": 1e-3}, "vision_config": {"layer_norm_eps": 1e-6}}
    towers = huggingface_towers(fields)
    assert (towers.text.eps, towers.vision.eps) == (1e-3, 1e-6)
    silent = huggingface_towers({"model_type": "clip"})
    assert (silent.text.eps, silent.vision.eps) == (1e-5, 1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "siglip"}, "describes SigLIP .model_type 'siglip'., and it is not conv"),
        ({"model_type": "clip", "vision_config": {"hidden_act": "silu"}}, "hidden_act='silu'; known are quick_gelu"),
        ({"model_type": "clip", "vision_config": {"num_channels": 1}}, "num_channels=1"),
    ],
)
def test_hugging_face_configurations_that_are_refused(fields, message):
    with pytest.raises(CheckpointError, match=message):
        huggingface_towers(fields)
