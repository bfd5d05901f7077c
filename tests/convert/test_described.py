"""What a checkpoint is, told without its weights: the config that loading it gives."""

import json
import shutil

import numpy as np
import pytest
import small

import jaxclip
from jaxclip import convert
from jaxclip.convert import CheckpointError, describe, sources
from jaxclip.data.scenes import CHECKPOINT
from jaxclip.files import checkpoint


@pytest.fixture
def unread(monkeypatch):
    """Opening weights fails, converted or not."""

    def opened(*_arguments, **_options):
        pytest.fail("weights were opened")

    monkeypatch.setattr(checkpoint, "read_weights", opened)
    monkeypatch.setattr(sources, "open_weights", opened)


@pytest.mark.parametrize("size", [None, 48, (64, 32)])
def test_it_is_what_loading_gives(tmp_path, size):
    exported = small.export(tmp_path / "exported")
    converted = convert.convert(exported, tmp_path / "converted")
    places = [exported, converted, str(exported / "open_clip_model.safetensors"), *([] if size else [str(CHECKPOINT)])]
    loaded = [jaxclip.load(place, image_size=size).config for place in places]
    for place, config in zip(places, loaded, strict=True):
        assert describe(place, image_size=size).config == config
        assert describe(place).no_texts is None


def test_no_weights_are_opened_or_fetched(tmp_path, unread, monkeypatch):
    exported = small.export(tmp_path / "exported")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert describe(exported).config.vision.n_heads == 4
    assert describe("ViT-L-14/openai").config.vision.n_layers == 24
    assert describe("ViT-L-14/openai").no_texts is None
    (exported / "open_clip_model.safetensors").unlink()
    assert describe(exported, image_size=96).config.vision.image_size == (96, 96)


def test_a_converted_folder_needs_its_config_alone(tmp_path):
    folder = convert.convert(small.export(tmp_path / "exported"), tmp_path / "converted")
    shutil.rmtree(folder / "weights")
    assert describe(folder).config.vision.width == np.prod([4, describe(folder).config.vision.head_dim])


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("nowhere", FileNotFoundError, "is no file or folder here"),
        ("ViT-B-16", CheckpointError, "is an architecture, not a checkpoint"),
        ("ViT-B-16/nobody", CheckpointError, "has no tag 'nobody'"),
        ("some/where.safetensors", FileNotFoundError, "is no file or folder here"),
    ],
)
def test_what_is_no_checkpoint_is_said_as_when_it_is_loaded(source, error, said):
    for ask in (describe, jaxclip.load):
        with pytest.raises(error, match=said):
            ask(source)


def test_why_it_takes_no_texts(tmp_path, unread):
    exported = small.export(tmp_path / "exported")
    path = exported / "open_clip_config.json"
    fields = json.loads(path.read_text())
    fields["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "nobody/nothing"
    path.write_text(json.dumps(fields))
    assert describe(exported).no_texts.startswith("no tokenizer: its tokenizer nobody/nothing")
    fields["model_cfg"]["text_cfg"] = {"hf_model_name": "roberta-base"}
    path.write_text(json.dumps(fields))
    assert "has no text tower here" in describe(exported).no_texts
