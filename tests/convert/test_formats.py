"""A family of checkpoints is one object: one more in `FORMATS`, and everything else reads its checkpoints."""

import json
from dataclasses import replace

import numpy as np
import pytest
import small

from jaxclip import convert
from jaxclip.convert import CheckpointError, describe, formats
from jaxclip.convert.formats.format import Claim, Format, Writer
from jaxclip.convert.formats.openclip import OPENCLIP, openclip_towers
from jaxclip.convert.formats.preprocess import openclip_preprocess
from jaxclip.convert.readers.safetensors import open_safetensors, write_safetensors
from jaxclip.model.params import flatten
from jaxclip.report.recognised import recognised


def renamed(rules):
    """OpenCLIP's rules for a family that calls everything otherwise, and stores LayerNorms last."""
    once = sorted((replace(rule, source=f"toy_{rule.source}") for rule in rules.once), key=lambda rule: rule.target)
    return replace(rules, once=tuple(once), blocks=f"toy_{rules.blocks}")


TOY = Format(
    name="toy",
    words="a toy",
    library="transformers",
    anchor="toy_visual.class_embedding",
    detects=lambda names: "toy_visual.class_embedding" in names,
    vision=renamed(OPENCLIP.vision),
    text=lambda config, names: renamed(OPENCLIP.text(config, names)),
    ignored=(r"toy_counter",),
    writer=Writer(
        name="Toys",
        file="config.json",
        weights=("toy.safetensors",),
        claims=lambda fields: fields.get("model_type") == "toy",
        towers=lambda fields, activation: openclip_towers(fields["towers"], activation),
        images=lambda fields, home: fields["images"],
        preprocess=lambda images, size: Claim(openclip_preprocess(images, size)[0], "files", "its own words"),
        resizes=False,
        brings_tokenizer=False,
    ),
    clip_options={"clean": "transformers"},
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A folder of OpenCLIP's and the same model in a toy's: tensors under other names, another description."""
    monkeypatch.setattr(formats, "FORMATS", (TOY, *formats.FORMATS))
    own = small.export(tmp_path / "own")
    fields = json.loads((own / "open_clip_config.json").read_text())
    tensors = open_safetensors(own / "open_clip_model.safetensors")
    folder = tmp_path / "toy"
    folder.mkdir()
    names = {name: name if name.startswith("logit") else f"toy_{name}" for name in tensors}
    stored = {names[name]: tensor.read() for name, tensor in tensors.items()} | {"toy_counter": np.int64(3)}
    write_safetensors(folder / "toy.safetensors", {name: np.asarray(array) for name, array in stored.items()})
    said = {"model_type": "toy", "towers": fields["model_cfg"], "images": fields["preprocess_cfg"]}
    (folder / "config.json").write_text(json.dumps(said))
    return own, folder


def test_a_new_family_is_read_described_and_named(toy):
    own, folder = toy
    wanted, weights, _, _ = convert.read(own)
    config, params, words, provenance = convert.read(folder)
    assert (config.vision, config.text) == (wanted.vision, wanted.text)
    assert config.preprocess == replace(wanted.preprocess, library="transformers")
    for (path, one), (other_path, other) in zip(flatten(weights), flatten(params), strict=True):
        assert path == other_path
        np.testing.assert_array_equal(one, other)
    assert words.options == {"clean": "transformers"}
    assert provenance["layout"] == "toy"
    assert recognised(config, provenance)["weights"].startswith("a toy, by the names in toy.safetensors")
    assert describe(folder).config == config


def test_its_description_and_its_names_are_its_own(toy):
    _, folder = toy
    with pytest.raises(CheckpointError, match=r"its config\.json says.*Correct the file"):
        convert.read(folder, like="ViT-B-16/openai")
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(CheckpointError, match="describes SigLIP"):
        convert.read(folder)


def test_without_it_the_same_folder_is_refused(toy, monkeypatch):
    monkeypatch.setattr(formats, "FORMATS", formats.FORMATS[1:])
    with pytest.raises(CheckpointError, match="describes a 'toy' model"):
        convert.read(toy[1])


def test_no_names_are_of_two_families_by_chance():
    """Each is recognised by its own names, the more particular first."""
    openclip = {"visual.class_embedding", "positional_embedding"}
    sizes = {"input_resolution", "context_length", "vocab_size"}
    asked = {
        "openclip": openclip,
        "openai": openclip | sizes,
        "openclip_custom_text": {"visual.class_embedding", "text.positional_embedding"},
        "huggingface": {"vision_model.embeddings.class_embedding", "text_model.final_layer_norm.bias"},
    }
    assert {form.name for form in formats.FORMATS} == set(asked)
    for name, names in asked.items():
        assert formats.detect(names) is formats.format_named(name)
    assert formats.detect(sizes) is None
    assert formats.detect({"visual.trunk.cls_token"}) is None
