"""What describes a checkpoint is read before its weights are opened, and before they are fetched: both are counted."""

import json

import pytest
import small
from huggingface_hub.errors import EntryNotFoundError

from jaxclip import convert
from jaxclip.convert import CheckpointError, describe, sources
from jaxclip.convert.readers import hub

TIMM = {"model_cfg": {"embed_dim": 8, "vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224"}, "text_cfg": {}}}
SIGLIP = {"model_type": "siglip", "vision_config": {}, "text_config": {}}


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """What is asked of the hub and which weight files are opened, in this order; `served` is what the hub has."""
    happened, served = [], {}

    def download(_repository, file, **_options):
        happened.append(f"asked for {file}")
        if file not in served:
            raise EntryNotFoundError.__new__(EntryNotFoundError)
        path = tmp_path / "hub" / "snapshots" / ("a" * 40) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(served[file])
        return str(path)

    def opened(path, real=sources.open_weights):
        happened.append(f"opened {path.name}")
        return real(path)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(sources, "open_weights", opened)
    return happened, served


def refused(source, said, **options):
    with pytest.raises(CheckpointError, match=said):
        convert.read(source, **options)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B-16-SigLIP/webli", "SigLIP"),
        ("EVA02-B-16/merged2b_s8b_b131k", "EVA"),
        ("coca_ViT-B-32/laion2b_s13b_b90k", "CoCa"),
    ],
)
def test_a_name_of_openclips_that_is_not_read_asks_for_nothing(counted, name, said):
    refused(name, said)
    assert counted[0] == []


@pytest.mark.parametrize(
    ("file", "fields", "said"),
    [
        ("open_clip_config.json", TIMM, "is a SigLIP model"),
        ("config.json", SIGLIP, "describes SigLIP"),
        ("config.json", {"architecture": "vit_base_patch16_224"}, "timm's 'vit_base_patch16_224'"),
        ("config.json", {"model_type": "bert"}, "describes a 'bert' model"),
    ],
)
def test_an_unsupported_family_is_told_by_its_description_alone(counted, tmp_path, file, fields, said):
    happened, served = counted
    served[file] = json.dumps(fields).encode()
    served |= {name: b"no weights" for name in ("open_clip_model.safetensors", "model.safetensors")}
    refused("hf-hub:org/repo", said)
    assert happened == [f"asked for {name}" for name in dict.fromkeys(("open_clip_config.json", file))]
    happened.clear()
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in served.items():
        (folder / name).write_bytes(content)
    weights = "model.safetensors" if file == "config.json" else "open_clip_model.safetensors"
    other = tmp_path / "other"  # by its weights' name alone it could be anybody's
    other.mkdir()
    (other / file).write_bytes(served[file])
    (other / "epoch_3.pt").write_bytes(b"no weights")
    for source in (folder, folder / weights, other):
        refused(source, said)
        with pytest.raises(CheckpointError, match=said):
            describe(source)
    assert happened == []


def test_what_contradicts_the_caller_is_told_before_weights_are_fetched(counted, tmp_path):
    happened, served = counted
    small.export(tmp_path / "model")
    served |= {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    refused("hf-hub:org/repo", "quick_gelu' was passed", activation="quick_gelu")
    refused("hf-hub:org/repo", r"like='ViT-B-16/openai'|the tag ViT-B-16/openai", like="ViT-B-16/openai")
    assert set(happened) == {"asked for open_clip_config.json"}
    happened.clear()
    for source in (tmp_path / "model", tmp_path / "model" / "open_clip_model.safetensors"):
        refused(source, "quick_gelu' was passed", activation="quick_gelu")
    assert happened == []


def test_a_checkpoint_that_is_read_is_asked_for_once_and_in_order(counted, tmp_path):
    happened, served = counted
    small.export(tmp_path / "model")
    served |= {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    convert.read("hf-hub:org/repo")
    weights = "open_clip_model.safetensors"
    in_order = ["asked for open_clip_config.json", f"asked for {weights}", f"opened {weights}"]
    assert [name for name in happened if "open_clip" in name] == in_order
    happened.clear()
    describe("hf-hub:org/repo")
    assert not any("safetensors" in name for name in happened)
