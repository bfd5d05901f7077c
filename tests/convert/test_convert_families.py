"""Models that are not read are told by name, before their weights are fetched or opened."""

import json
import shutil

import numpy as np
import pytest
from parity import checkpoints

from jaxclip import convert
from jaxclip.convert import CheckpointError, describe, registry, sources
from jaxclip.convert.readers import hub
from jaxclip.convert.readers.safetensors import write_safetensors


@pytest.fixture
def asked(monkeypatch):
    """Requests to the hub, of which none is answered."""
    requests = []

    def download(name, file, **_options):
        requests.append((name, file))
        raise ConnectionError

    monkeypatch.setattr(hub, "hf_hub_download", download)
    return requests


@pytest.fixture
def unopened(monkeypatch):
    monkeypatch.setattr(sources, "open_weights", lambda path: pytest.fail(f"{path.name} was opened"))


def refused(source, **options):
    """The sentence, which is the same whether a checkpoint is asked for or only its description."""
    with pytest.raises((CheckpointError, FileNotFoundError)) as caught:
        convert.read(source, **options)
    with pytest.raises(type(caught.value)) as again:
        describe(source)
    assert str(again.value) == str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "hf-hub:"])
@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("ViT-B-16-SigLIP/webli", "SigLIP"), ("ViT-SO400M-14-SigLIP2/webli", "SigLIP"), ("vit-b-16-siglip", "SigLIP"),
        ("EVA02-L-14/merged2b_s4b_b131k", "EVA"), ("RN50/openai", "ResNet"), ("rn50x64-quickgelu", "ResNet"),
        ("convnext_base_w/laion2b_s13b_b82k", "ConvNeXt"), ("convnext-base-w/any", "ConvNeXt"),
        ("coca_ViT-B-32/laion2b_s13b_b90k", "CoCa"), ("coca_ViT-L-14", "CoCa"), ("ViTamin-L2/datacomp1b", "ViTamin"),
        ("MobileCLIP-B/datacompdr", "MobileCLIP"), ("MobileCLIP2-L-14/dfndr2b", "MobileCLIP"),
        ("PE-Core-B-16/meta", "PE-Core"), ("nllb-clip-base-siglip/v1", "SigLIP"), ("naflex_ViT-B-16", "NaFlex"),
    ],
)  # fmt: skip
def test_a_name_of_another_family_is_no_repository(asked, prefix, name, family):
    said = refused(prefix + name)
    assert f" {family} model, and is not converted" in said
    assert "such as ViT-B-16/laion2b_s34b_b88k" in said
    assert asked == []


def test_every_model_of_open_clip_is_read_or_refused_by_family(open_clip, asked):
    for name in set(open_clip.list_models()) - set(registry.model_names()):
        with pytest.raises(CheckpointError, match=r"is not a native OpenCLIP ViT: it (is an?|has a) .*not converted"):
            convert.read("nowhere.pt", model=name)
    assert asked == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ViT-B/32", "ViT-B-32"), ("vit_b_32/openai", "ViT-B-32/openai"), ("ViT-B-32:openai", "ViT-B-32/openai"),
        ("hf-hub:ViT-L-14/openai", "ViT-L-14/openai"), ("ViT-L/14@336px", "ViT-L-14-336"), ("scenes_", None),
        ("ViT-B-16-SigLIP3/webli", "SigLIP models, if one is meant"), ("ViT-B-16/opena", "the closest are openai"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "ViT-B-32/laion2b_s34b_b79k"), ("some/where", None),
        ("RN50/yfcc", "ResNet"), ("RN50:openai", "is a ResNet model"),
        ("coca_ViT-L-14:laion2b_s13b_b90k", "is a CoCa model"), ("openai/ViT-B-32", "name is ViT-B-32/openai"),
        ("google/siglip-base-patch16-224", "SigLIP models, if"), ("EVA-CLIP", "EVA models, if"),
        ("coca_cola/x", "CoCa models, if"),
        ("cocaine", None), ("evaluation/run_3", None), ("returns/rn", None), ("ViTamin-XXL", "ViTamin models"),
        ("VitB16", "ViT-B-16"),
    ],
)  # fmt: skip
def test_a_near_miss_of_a_name_says_the_closest(asked, name, meant):
    said = refused(name)
    assert meant is None or meant in said
    assert meant is not None or not any(word in said for word in ("closest", "not converted"))
    assert asked == []


TYPES = {
    "siglip": "SigLIP", "siglip2_vision_model": "SigLIP 2", "blip": "BLIP", "blip-2": "BLIP-2",
    "metaclip_2": "MetaCLIP 2", "chinese_clip": "Chinese CLIP", "owlvit": "OWL-ViT", "bert": "a 'bert' model",
    "clip_vision_model": "an image tower without its text tower", "clip_text_model": "CLIPTextModel",
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_another_model_type_is_told_before_its_weights(tmp_path, unopened, kind):
    """A folder as transformers writes it, its weights not even looked at."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "architectures": ["X"]}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    said = refused(tmp_path)
    assert TYPES[kind] in said
    assert ("CLIPModel that it comes from" in said) == (kind == "clip_vision_model")
    assert ("move their file out" in said) == (kind == "bert")


def test_metaclip_2_points_at_weights_that_are_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "metaclip_2"}')
    named = [word.strip(",.") for word in refused(tmp_path).split() if "/metaclip2" in word]
    assert len(named) == 4
    for name in named:
        assert registry.find_tag(*name.split("/")).repository


@pytest.mark.parametrize("tower", ["vit_base_patch16_siglip_224", "eva02_base_patch16_clip_224", "resnet50", "vit_x"])
def test_open_clips_description_is_read_before_its_weights(tmp_path, unopened, tower):
    cfg = checkpoints.config(vision_timm_model_name=tower, custom_text=True, init_logit_bias=-10)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg}))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    said = refused(tmp_path)
    assert f"vision_cfg.timm_model_name={tower!r}: it" in said
    assert {"vit": "SigLIP", "eva": "EVA", "res": "ResNet"}[tower[:3]] in said or tower == "vit_x"


def test_a_repository_of_another_family_costs_its_description_alone(tmp_path, monkeypatch):
    fetched = []

    def download(name, file, **_options):
        fetched.append(file)
        if file != "config.json":
            raise hub.EntryNotFoundError(file)
        path = tmp_path / file
        path.write_text('{"model_type": "siglip"}')
        return str(path)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    with pytest.raises(CheckpointError, match="describes SigLIP"):
        convert.read("hf-hub:google/siglip-base-patch16-224")
    assert fetched == ["open_clip_config.json", "config.json"]


@pytest.mark.parametrize(
    ("preprocess", "options", "said"),
    [
        ({"interpolation": "random"}, {}, "embeds with bicubic"),
        ({}, {"activation": "quick_gelu"}, "needs gelu; activation='quick_gelu' was passed"),
        ({}, {"like": "ViT-B-16/openai"}, "needs quick_gelu; its open_clip_config.json says gelu"),
    ],
)
def test_all_that_a_description_decides_is_decided_before_a_download(tmp_path, monkeypatch, preprocess, options, said):
    fetched = []

    def download(name, file, **_options):
        fetched.append(file)
        path = tmp_path / file
        path.write_text(json.dumps({"model_cfg": checkpoints.config(), "preprocess_cfg": preprocess}))
        return str(path)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    with pytest.raises(CheckpointError, match=said):
        convert.read("hf-hub:somebody/mine", **options)
    assert fetched == ["open_clip_config.json"]


def test_what_contradicts_a_tag_is_told_before_a_download(asked):
    with pytest.raises(CheckpointError, match="needs quick_gelu; activation='gelu' was passed"):
        convert.read("roberta-ViT-B-32/laion2b_s12b_b32k", activation="gelu")
    assert asked == []


def test_timms_image_model_has_no_texts(tmp_path, unopened):
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_224", "pretrained_cfg": {}}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "timm's 'vit_base_patch16_224', an image model without a text tower" in refused(tmp_path)


def test_quantised_weights_are_told_from_their_description(tmp_path, unopened):
    fields = {"model_type": "clip", "quantization_config": {"quant_method": "bitsandbytes"}}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "quantised (bitsandbytes)" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2", "uint16"])
def test_float8_is_told_as_float8(open_clip, tmp_path, kind):
    import torch
    from safetensors.torch import save_file

    table = {"visual.class_embedding": torch.zeros(4).to(getattr(torch, kind))}
    torch.save(table, tmp_path / "a.pt")
    save_file(table, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        with pytest.raises(
            CheckpointError, match=rf"{name} holds {kind.partition('_')[0]}.* numbers, and only float32"
        ):
            sources.open_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["vision_model.head.probe", "logit_bias"], "SigLIP"),
        (["visual.trunk.pos_embed", "logit_scale"], "timm"),
        (["visual.layer1.0.conv1.weight"], "ResNet"),
        (["vision_model.embeddings.class_embedding", "text_decoder.cls.bias"], "BLIP"),
        (["vision_model.embeddings.class_embedding", "vision_proj.weight"], "BLIP"),
        (["vision_model.embeddings.class_embedding", "qformer.layernorm.bias"], "BLIP-2"),
    ],
)
def test_a_lone_file_of_another_network_is_told_by_its_names(tmp_path, names, what):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {name: np.zeros(4, np.float32) for name in names})
    with pytest.raises(CheckpointError, match=what) as caught:
        convert.read(path)
    assert "CLIPModel" not in str(caught.value)


def test_sentence_transformers_folder_points_at_its_clip(open_clip, tmp_path):
    checkpoints.make_hf(tmp_path / "0_CLIPModel")
    modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    said = refused(tmp_path)
    assert f"its CLIP is in it: pass {tmp_path / '0_CLIPModel'}." in said
    assert convert.read(said.rpartition("pass ")[2].removesuffix("."))[0].vision.image_size == (32, 32)


def test_a_pipeline_of_diffusers_is_no_clip(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "a pipeline of diffusers" in refused(tmp_path)


class TestTwoDescriptions:
    """`open_clip_config.json` beside Hugging Face's weights and `config.json`, and the other way round."""

    @pytest.fixture
    def folder(self, open_clip, tmp_path):
        checkpoints.make_hf(tmp_path)
        alone = convert.read(tmp_path)
        stale = checkpoints.config(vision_image_size=64, quick_gelu=False)
        (tmp_path / "open_clip_config.json").write_text(
            json.dumps({"model_cfg": stale, "preprocess_cfg": checkpoints.PREPROCESS})
        )
        return tmp_path, alone

    def test_weights_in_hugging_faces_names_follow_config_json(self, folder):
        path, (config, params, _, _) = folder
        for place in (path, path / "model.safetensors"):
            found, again, _, provenance = convert.read(place)
            assert (found.vision, found.text, found.preprocess) == (config.vision, config.text, config.preprocess)
            np.testing.assert_array_equal(again["vision"]["projection"], params["vision"]["projection"])
            said = provenance["options"]["description"]
            assert said["value"] == "config.json"
            assert "activation gelu, not quick_gelu" in said["why"]
            assert "image_size (64, 64), not (32, 32)" in said["why"]
        assert describe(path).config.vision == config.vision

    def test_weights_in_open_clips_names_follow_its_own(self, folder):
        path, _ = folder
        (path / "model.safetensors").unlink()
        model = checkpoints.make_openclip(path / "own", checkpoints.config())
        shutil.copy(path / "own" / "open_clip_model.safetensors", path / "pytorch_model.safetensors")
        shutil.copy(path / "own" / "open_clip_config.json", path)
        found, _, _, provenance = convert.read(path)
        assert found.vision.activation == "gelu"
        assert found.vision.image_size == model.visual.image_size == (32, 32)
        assert provenance["options"]["description"]["value"] == "open_clip_config.json"
        assert "config.json beside them is not used and says vision" in provenance["options"]["description"]["why"]

    def test_another_librarys_description_alone_is_said(self, folder):
        path, _ = folder
        (path / "config.json").unlink()
        fitting = checkpoints.config(vision_mlp_ratio=2.0834, vision_head_width=8, text_mlp_ratio=2.5)
        (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": fitting}))
        with pytest.warns(UserWarning, match=r"is read by open_clip_config\.json: its weights have Hugging"):
            found, _, _, provenance = convert.read(path)
        said = provenance["options"]["description"]
        # It says sizes and filters; whose way they are followed in, the weights say.
        assert found.preprocess.library == "transformers" == describe(path).config.preprocess.library
        assert said["why"] == "its weights have Hugging Face's names, but no config.json is beside them"
