"""What a checkpoint is called and where it lies: paths, tags and repositories, and what settles its configuration."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants
from jaxclip.convert import CheckpointError, registry, settle
from jaxclip.convert.configs import openclip_towers
from jaxclip.convert.huggingface import huggingface_towers
from jaxclip.convert.images import huggingface_preprocess, openclip_preprocess
from jaxclip.convert.settle import Wishes
from jaxclip.convert.sources import Source, open_source
from parity import checkpoints
from parity.checkpoints import PREPROCESS, config

from jaxclip import convert
from jaxclip.config import PreprocessConfig


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty Hugging Face cache and no network; returns a function that puts a repository's folder into the cache."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repository: str, commit: str = "a" * 40) -> Path:
        home = cache / f"models--{repository.replace('/', '--')}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text(commit)
        (home / "snapshots" / commit).mkdir(parents=True)
        return home / "snapshots" / commit

    return put


def bare(**known):
    """A source without tensors, for what is settled before any is read."""
    return Source(known.pop("label", "x.pt"), {}, known.pop("layout", "openclip"), (), None, **known)


def own(cfg, preprocess=PREPROCESS):
    return {"model_cfg": cfg, "preprocess_cfg": preprocess}


@pytest.mark.parametrize("name", ["hf-hub:org/repo", "org/repo", "hf-hub:org/repo@main"])
def test_repository_in_openclip_layout_from_the_cache(open_clip, offline, name):
    folder = offline("org/repo")
    checkpoints.make_openclip(folder)
    cfg, _, _, provenance = convert.read(name)
    assert (cfg.name, cfg.preprocess.resize_mode) == (name, "squash")
    assert (provenance["repository"], provenance["commit"]) == ("org/repo", "a" * 40)


def test_repository_in_hugging_face_layout_from_the_cache(open_clip, offline):
    folder = offline("openai/clip-vit-base-patch16")
    checkpoints.make_hf(folder)
    (folder / "tokenizer.json").write_text("{}")
    cfg, _, words, _ = convert.read("openai/clip-vit-base-patch16")
    assert cfg.vision.activation == "quick_gelu"
    assert (words.kind, words.folder) == ("own", folder)


def test_a_repository_with_both_layouts_is_read_as_openclip(open_clip, offline):
    folder = offline("laion/both")
    checkpoints.make_hf(folder)
    checkpoints.make_openclip(folder)
    assert open_source("laion/both").layout == "openclip"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf-hub:org/absent", r"org/absent has no open_clip_config.json or config.json .* HF_HUB_OFFLINE is set"),
        ("ViT-B-16/laion2b_s34b_b88k", r"laion/CLIP-ViT-B-16-laion2B-s34B-b88K has no open_clip_model.safetensors or"),
        ("ViT-L-14/openai", r"timm/vit_large_patch14_clip_224.openai has no .*`hf download"),
    ],
)
def test_offline_a_missing_file_says_what_to_do(offline, name, message):
    with pytest.raises(FileNotFoundError, match=message):
        convert.read(name)


def test_a_tag_decides_activation_and_preprocessing(open_clip, offline, monkeypatch):
    """`ViT-T/openai` stands for a tag whose plain config says gelu and whose weights need quick_gelu."""
    tables = registry._tables()
    tag = {"repository": "timm/tiny", "activation": "quick_gelu", "preprocess": "imagenet-bilinear-squash"}
    monkeypatch.setitem(tables["models"], "ViT-T", {"model_cfg": config()})
    monkeypatch.setitem(tables["models"], "ViT-T-quickgelu", {"model_cfg": config(quick_gelu=True)})
    monkeypatch.setitem(tables["tags"], "ViT-T", {"openai": tag})
    folder = offline("timm/tiny")
    checkpoints.make_openclip(folder, config(quick_gelu=True))
    for name in ("ViT-T/openai", "ViT-T-quickgelu/openai", "ViT-T/OpenAI"):
        cfg, _, _, provenance = convert.read(name)
        assert (cfg.vision.activation, cfg.text.activation) == ("quick_gelu", "quick_gelu")
        assert (cfg.preprocess.interpolation, cfg.preprocess.resize_mode) == ("bilinear", "squash")
        assert "the tag ViT-T" in provenance["options"]["activation"]["why"]
    assert convert.read("ViT-T/openai", activation="quick_gelu")[0] == convert.read("ViT-T/openai")[0]
    with pytest.raises(CheckpointError, match="the tag ViT-T/openai needs quick_gelu; activation='gelu' was passed"):
        convert.read("ViT-T/openai", activation="gelu")
    # The same file without its name, told what it is like.
    weights = folder / "open_clip_model.safetensors"
    copy = weights.rename(folder / "renamed.safetensors")
    assert convert.read(copy, like="ViT-T/openai")[0].vision.activation == "quick_gelu"
    copy.rename(weights)
    # A configuration in the repository that contradicts the tag.
    (folder / "open_clip_config.json").write_text(json.dumps(own(config())))
    with pytest.raises(CheckpointError, match=r"ViT-T/openai needs quick_gelu; its open_clip_config.json says gelu"):
        convert.read("ViT-T/openai")
    with pytest.raises(CheckpointError, match=r"ViT-T/openai needs quick_gelu; its open_clip_config.json says gelu"):
        convert.read(folder, like="ViT-T/openai")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-16", "is an architecture, not a checkpoint; name one of its tags: ViT-B-16/openai"),
        ("ViT-e-14", "none: it has no pretrained weights"),
        ("ViT-B-16/laion2b_s34b_b88", "closest are laion2b_s34b_b88k.*its tags are openai"),
        ("ViT-B-16-plus-240/laion400m_e32", r"holds other weights; download https://\S+ and pass the file with like="),
        ("ViT-H-16/openai", "it has no pretrained weights"),
        ("ViT-B-16-quickgelu/laion2b_s34b_b88k", r"trained with gelu, not quick_gelu. Use ViT-B-16/laion2b_s34b_b88k"),
    ],
)
def test_names_of_models_that_are_no_checkpoint(name, message):
    with pytest.raises(CheckpointError, match=message):
        convert.read(name)


@pytest.mark.parametrize(
    "name",
    ["nowhere", "./no/where", "/no/where.pt", "weights/model.safetensors", "a/b/c", "local-dir:no/where", Path("a/b")],
)
def test_paths_that_do_not_exist(name, offline):
    with pytest.raises(FileNotFoundError, match=r"no file or folder"):
        convert.read(name)


def test_an_existing_path_comes_before_any_name(open_clip, tmp_path, monkeypatch):
    checkpoints.make_openclip(tmp_path / "ViT-B-16" / "openai")
    monkeypatch.chdir(tmp_path)
    assert open_source("ViT-B-16/openai").home.path == Path("ViT-B-16/openai")


def test_folder_without_weights_or_with_too_many(open_clip, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"other weight files: none"):
        convert.read(tmp_path)
    checkpoints.make_openclip(tmp_path)
    weights = tmp_path / "open_clip_model.safetensors"
    (tmp_path / "epoch_1.safetensors").write_bytes(weights.read_bytes())
    convert.read(tmp_path)
    weights.rename(tmp_path / "epoch_2.safetensors")
    with pytest.raises(FileNotFoundError, match=r"epoch_1.safetensors, epoch_2.safetensors. Name one file"):
        convert.read(tmp_path)
    (tmp_path / "epoch_1.safetensors").unlink()
    assert open_source(tmp_path).files[0].name == "epoch_2.safetensors"


def test_weights_alone_are_never_guessed(open_clip, tmp_path):
    checkpoints.make_openclip(tmp_path)
    (tmp_path / "open_clip_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds weights but no configuration; pass like="):
        convert.read(tmp_path / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match=r"does not say its activation and ViT-B-16 exists with both; pass activ"):
        convert.read(tmp_path / "open_clip_model.safetensors", model="ViT-B-16", preprocess="openai-bicubic-shortest")
    with pytest.raises(CheckpointError, match=r"does not say how its images were prepared; pass like='MODEL/TAG'"):
        convert.read(tmp_path / "open_clip_model.safetensors", model="ViT-B-16", activation="gelu")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"like": "ViT-B-16"}, "must name a model and a tag"),
        ({"like": "ViT-B-16/openai", "model": "ViT-B-16"}, "not both"),
        ({"like": "ViT-X/openai"}, "is not a native OpenCLIP ViT"),
        ({"model": "ViT-B-33"}, "the closest are"),
        ({"model": "RN50"}, "is not a native OpenCLIP ViT"),
        ({"model": "ViT-B-16", "activation": "relu"}, "use one of gelu, quick_gelu, gelu_tanh"),
        ({"model": "ViT-B-16-quickgelu", "activation": "gelu"}, "needs quick_gelu; activation='gelu' was passed"),
        ({"model": "ViT-B-16", "activation": "gelu", "preprocess": "openai"}, "use one of openai-bicubic-shortest"),
        ({"model": "ViT-B-16", "activation": "gelu", "preprocess": {"mean": (0, 0, 0)}}, "is no PreprocessConfig"),
        (
            {"like": "coca_ViT-B-32/laion2b_s13b_b90k"},
            r"vision_cfg.attentional_pool is not supported: an attention pool",
        ),
    ],
)
def test_wishes_that_cannot_be_met(unchecked, wishes, message):
    with pytest.raises(CheckpointError, match=message):
        settle.settle(bare(), Wishes(**wishes))


def test_passed_preprocessing_must_fit_the_tower():
    passed = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "nearest", "resize_mode": "longest"}
    style = PreprocessConfig(size=(32, 32), **passed)
    known = {"model": "ViT-B-16", "activation": "gelu"}
    with pytest.raises(CheckpointError, match=r"has size \(32, 32\), but the tower takes \(224, 224\)"):
        settle.settle(bare(), Wishes(**known, preprocess=style))
    settled = settle.settle(bare(), Wishes(**known, preprocess=passed, image_size=96))
    assert settled.config.preprocess == PreprocessConfig(**passed, size=(96, 96))
    assert settled.config.vision.grid == (6, 6)
    assert settled.choices["activation"]["why"] == "passed as activation='gelu'"


def test_a_configuration_that_the_caller_contradicts():
    cfg = registry.model_cfg("ViT-B-16")
    source = bare(openclip=own(cfg))
    assert settle.settle(source, Wishes(model="ViT-B-16")).config.vision.activation == "gelu"
    with pytest.raises(CheckpointError, match=r"model='ViT-B-32' has vision patch_size .*open_clip_config.json says"):
        settle.settle(source, Wishes(model="ViT-B-32"))
    with pytest.raises(CheckpointError, match=r"open_clip_config.json needs gelu; activation='quick_gelu' was passed"):
        settle.settle(source, Wishes(activation="quick_gelu"))
    with pytest.raises(
        CheckpointError, match=r"the tag ViT-B-16/openai needs quick_gelu; its open_clip_config.json says"
    ):
        settle.settle(source, Wishes(like="ViT-B-16/openai"))


REFUSED = {
    "vision_attentional_pool": True, "vision_qk_norm": True, "vision_scaled_cosine_attn": True,
    "vision_scale_heads": True, "vision_scale_attn_inner": True, "vision_scale_attn": True, "vision_scale_fc": True,
    "vision_block_type": "custom", "vision_timm_model_name": "vit_base", "vision_input_patchnorm": True,
    "vision_pool_type": "none", "vision_pos_embed_type": "rope", "vision_act_kwargs": {"approximate": "x"},
    "vision_norm_kwargs": {"elementwise_affine": False}, "vision_layers": [3, 4, 6, 3], "vision_new_option": 1,
    "text_embed_cls": True, "text_qk_norm": True, "text_pool_type": "none", "text_proj_type": "mlp",
    "text_new_option": 1, "new_option": 1, "multimodal_cfg": {"layers": 2},
}  # fmt: skip


@pytest.mark.parametrize("option", REFUSED)
def test_unknown_and_unsupported_options_are_refused_by_name(option):
    tower, _, name = option.partition("_")
    with pytest.raises(CheckpointError, match=name if tower in ("vision", "text") else option):
        openclip_towers(config(**{option: REFUSED[option]}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_pool_type": "avg"}, "needs final_ln_after_pool=true"),
        ({"text_pool_type": "eos"}, "text_cfg lacks 'eos_id'"),
        ({"vision_image_size": [1, 2, 3]}, "one integer or"),
        ({"vision_width": "wide"}, "wrong kind"),
        ({"vision_width": 50}, "multiple of n_heads"),
        ({"vision_layers": 0}, "positive integer"),
        ({"vision_head_width": 0}, "wrong kind"),
        ({"embed_dim": None}, "lacks 'embed_dim'"),
        ({"vision_cfg": 3}, "must be a JSON object"),
        ({"text_cfg": []}, "must be a JSON object"),
        ({"quick_gelu": True, "vision_act_kwargs": {"approximate": "tanh"}}, "not supported with quick_gelu"),
    ],
)
def test_configurations_that_make_no_sense(unchecked, change, message):
    cfg = config(**{key: value for key, value in change.items() if key not in ("vision_cfg", "text_cfg")})
    cfg |= {key: value for key, value in change.items() if key in ("vision_cfg", "text_cfg")}
    with pytest.raises(ValueError, match=message):
        openclip_towers(cfg)


def test_a_hugging_face_text_tower_leaves_the_image_tower(open_clip, tmp_path):
    import torch
    from safetensors.torch import save_file

    cfg = {**config(), "text_cfg": {"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base"}}
    model = checkpoints.make_openclip(tmp_path)
    state = {n: t for n, t in model.state_dict().items() if n.startswith("visual.") or n == "logit_scale"}
    state["text.transformer.embeddings.word_embeddings.weight"] = torch.zeros(3, 4)
    save_file(state, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(own(cfg)))
    found, params, words, _ = convert.read(tmp_path)
    assert found.text is None
    assert "roberta-base; only the image tower" in found.text_missing
    assert sorted(params) == ["logit_scale", "vision"]
    assert words.kind == "missing"


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
        ({"size": {"height": 32, "width": 32}}, "neither a shortest-side resize"),
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
        ({"model_type": "siglip"}, "'siglip' model; only model_type 'clip'"),
        ({"model_type": "clip", "vision_config": {"hidden_act": "silu"}}, "hidden_act='silu'; known are quick_gelu"),
        ({"model_type": "clip", "vision_config": {"num_channels": 1}}, "num_channels=1"),
    ],
)
def test_hugging_face_configurations_that_are_refused(fields, message):
    with pytest.raises(CheckpointError, match=message):
        huggingface_towers(fields)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00", '"x"'])
def test_a_configuration_that_is_no_json_object(open_clip, tmp_path, content):
    checkpoints.make_openclip(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"open_clip_config.json (is not JSON|must hold a JSON object)"):
        convert.read(tmp_path)


def test_dtype_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match="dtype must be one of float32, bfloat16, float16; got 'int8'"):
        convert.read(tmp_path, dtype="int8")
