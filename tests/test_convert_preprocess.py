"""Preprocessing and architecture as a checkpoint's own files state them, or an error that says what to pass."""

import pytest
from parity import checkpoints

from jaxclip import convert
from jaxclip.convert import CheckpointError
from jaxclip.convert.huggingface import huggingface_towers
from jaxclip.convert.images import huggingface_preprocess, openclip_preprocess


def test_absent_preprocessing_takes_the_formats_own_values_and_says_so(unchecked):
    found, defaults = openclip_preprocess({"mean": [0.1, 0.2, 0.3], "size": 999}, (32, 48))
    assert (found.size, found.interpolation, found.resize_mode) == ((32, 48), "bicubic", "shortest")
    assert any("std" in word for word in defaults)
    assert not any("mean" in word for word in defaults)
    for wrong in ({"gamma": 2.2}, {"mode": "L"}, {"interpolation": "random"}, {"resize_mode": "crop"}, [1]):
        with pytest.raises(ValueError, match=r"gamma|mode|interpolation|resize_mode|\[1\]"):
            openclip_preprocess(wrong, (32, 32))


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


@pytest.mark.parametrize(("eos", "pool"), [(2, ("argmax", None)), (49407, ("eos", 49407)), (None, ("eos", 49407))])
def test_hugging_face_pools_text_as_transformers_does(eos, pool):
    fields = {"model_type": "clip", "text_config": {"eos_token_id": eos, "hidden_act": "gelu"}, "vision_config": {}}
    towers = huggingface_towers(fields)
    assert (towers.text.pool, towers.text.eos_id) == pool
    assert (towers.text.activation, towers.vision.activation) == ("gelu", "quick_gelu")


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
