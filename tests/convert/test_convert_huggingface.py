"""Hugging Face folders as people have them: adapters, image towers alone, processors of several ages."""

import json
import shutil

import numpy as np
import pytest
from parity import checkpoints

from jaxclip import convert
from jaxclip.convert import CheckpointError, describe
from jaxclip.convert.formats.huggingface import huggingface_towers
from jaxclip.convert.readers.safetensors import open_safetensors, write_safetensors

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(open_clip, tmp_path):
    checkpoints.make_hf(tmp_path)
    return tmp_path


def test_a_base_beside_an_adapter_is_not_taken_for_the_model(folder):
    """transformers would put the adapter in."""
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    write_safetensors(folder / "adapter_model.safetensors", {"x.lora_A.weight": np.zeros((2, 48), np.float32)})
    with pytest.raises(CheckpointError, match=r"adapter of peft .*merge_and_unload\(\).*name the weight file"):
        convert.read(folder)
    assert convert.read(folder / WEIGHTS)[0].vision.activation == "quick_gelu"
    (folder / "config.json").unlink()
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="adapter of peft"):
        convert.read(folder)
    with pytest.raises(CheckpointError, match=r"LoRA adapter \(x.lora_A.weight\)"):
        convert.read(folder / "adapter_model.safetensors")


@pytest.mark.parametrize("projected", [True, False])
def test_an_image_tower_alone_says_where_to_put_it(folder, projected):
    path = folder / WEIGHTS
    kept = ("vision_model", "visual_projection") if projected else ("vision_model",)
    write_safetensors(path, {name: t.read() for name, t in open_safetensors(path).items() if name.startswith(kept)})
    with pytest.raises(
        CheckpointError, match=r"image tower without its text tower; .*clip.vision_model.load"
    ) as caught:
        convert.read(folder)
    assert ("visual_projection" in str(caught.value)) == projected


def test_the_image_processor_within_the_processors_file(folder):
    alone, whole = folder / "preprocessor_config.json", folder / "processor_config.json"
    before = convert.read(folder)[0]
    fields = json.loads(alone.read_text())
    whole.write_text(json.dumps({"image_processor": fields, "processor_class": "CLIPProcessor"}))
    assert convert.read(folder)[0] == before
    alone.unlink()
    assert convert.read(folder)[0] == before == describe(folder).config
    alone.write_text(json.dumps(fields | {"resample": 2, "size": {"shortest_edge": 40}}))
    with pytest.raises(CheckpointError, match=r"disagree on size, resample; remove the one that is wrong"):
        convert.read(folder)
    alone.unlink()
    whole.write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    with pytest.raises(CheckpointError, match="does not say how its images were prepared"):
        convert.read(folder)


def test_an_older_description_counts_whole_as_in_transformers(folder):
    """Where `vision_config_dict` stands beside `vision_config`, it wins with its own defaults."""
    with checkpoints.without_torchvision():
        from transformers import CLIPConfig
    fields = json.loads((folder / "config.json").read_text())
    for part in ("vision_config", "text_config"):
        fields[f"{part}_dict"] = {key: value for key, value in fields[part].items() if key != "hidden_act"}
        fields[part]["hidden_act"] = "gelu"
    theirs, ours = CLIPConfig(**fields), huggingface_towers(fields)
    assert theirs.vision_config.hidden_act == ours.vision.activation == "quick_gelu"
    assert ours.text is not None
    assert theirs.text_config.hidden_act == ours.text.activation == "quick_gelu"
    assert (ours.vision.width, ours.text.width) == (48, 32)


def test_weights_of_a_variant_have_their_configuration_beside_them(folder):
    before = convert.read(folder)[1]
    for name in ("model.fp16.safetensors", "model.ema.safetensors"):
        shutil.copy(folder / WEIGHTS, folder / name)
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"model.ema.safetensors, model.fp16.safetensors. Name one file"):
        convert.read(folder)
    after = convert.read(folder / "model.ema.safetensors")[1]
    np.testing.assert_array_equal(after["vision"]["projection"], before["vision"]["projection"])


def test_a_tuned_model_beside_the_configuration_of_its_base(folder):
    """A Lightning checkpoint in the place of the weights that the folder came with."""
    import torch

    before = convert.read(folder)
    tensors = {f"clip.{name}": torch.from_numpy(t.read()) for name, t in open_safetensors(folder / WEIGHTS).items()}
    torch.save({"state_dict": tensors}, folder / "last.ckpt")
    (folder / WEIGHTS).unlink()
    config, params, _, _ = convert.read(folder)
    assert config == before[0]
    np.testing.assert_array_equal(params["vision"]["projection"], before[1]["vision"]["projection"])


def test_positions_for_another_size_than_the_configuration_says_are_asked_about(folder):
    """transformers does not load such a folder."""
    fields = json.loads((folder / "config.json").read_text())
    fields["vision_config"]["image_size"] = 48
    (folder / "config.json").write_text(json.dumps(fields))
    passed = {"preprocess": "openai-bicubic-shortest"}
    with pytest.raises(
        CheckpointError, match=r"config.json says images of \[48, 48\] .* for \[32, 32\]; pass image_size=32"
    ):
        convert.read(folder, **passed)
    assert convert.read(folder, **passed, image_size=32)[0].vision.grid == (4, 4)
    assert convert.read(folder, **passed, image_size=48)[0].vision.grid == (6, 6)
