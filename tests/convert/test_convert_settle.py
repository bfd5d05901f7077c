"""What a checkpoint is comes from its tag, its own files or the caller, and is never guessed."""

import json

import pytest
from parity import checkpoints
from parity.checkpoints import PREPROCESS, config

from jaxclip import convert
from jaxclip.config import PreprocessConfig
from jaxclip.convert import CheckpointError, registry, settle
from jaxclip.convert.formats.format import Claim, Description
from jaxclip.convert.formats.openclip import OPENCLIP, openclip_towers
from jaxclip.convert.settle import Wishes
from jaxclip.convert.sources import Source


def bare(fields=None):
    """A source without tensors, for what is settled before any is read."""
    said = None if fields is None else Description(OPENCLIP.writer, fields, fields["preprocess_cfg"])
    return Source("x.pt", {}, OPENCLIP, (), None, description=said)


def own(cfg, preprocess=PREPROCESS):
    return {"model_cfg": cfg, "preprocess_cfg": preprocess}


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
    assert settled.choices["activation"] == Claim("gelu", "caller", "passed as activation='gelu'")


def test_a_configuration_that_the_caller_contradicts():
    cfg = registry.model_cfg("ViT-B-16")
    source = bare(own(cfg))
    assert settle.settle(source, Wishes(model="ViT-B-16")).config.vision.activation == "gelu"
    with pytest.raises(CheckpointError, match=r"model='ViT-B-32' has vision patch_size .*open_clip_config.json says"):
        settle.settle(source, Wishes(model="ViT-B-32"))
    with pytest.raises(CheckpointError, match=r"open_clip_config.json needs gelu; activation='quick_gelu' was passed"):
        settle.settle(source, Wishes(activation="quick_gelu"))
    with pytest.raises(
        CheckpointError, match=r"the tag ViT-B-16/openai needs quick_gelu; its open_clip_config.json says"
    ):
        settle.settle(source, Wishes(like="ViT-B-16/openai"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image_size": 240}, "image_size"),
        ({"patch_size": 32}, "patch_size"),
        ({"layers": 11}, "n_layers"),
        ({"head_width": 32}, "n_heads"),
        ({"mlp_ratio": 2.0}, "mlp_dim"),
        ({"norm_kwargs": {"eps": 1e-6}}, "eps"),
        ({"no_ln_pre": True}, "ln_pre"),
        ({"ls_init_value": 0.1}, "layer_scale"),
        ({"pool_type": "avg", "final_ln_after_pool": True}, "pool"),
    ],
)
@pytest.mark.parametrize("said", [{"like": "ViT-B-16/laion2b_s34b_b88k"}, {"model": "ViT-B-16"}], ids=str)
def test_a_name_that_differs_from_a_folder_in_any_field(change, field, said):
    cfg = registry.model_cfg("ViT-B-16")
    source = bare(own({**cfg, "vision_cfg": {**cfg["vision_cfg"], **change}}))
    with pytest.raises(CheckpointError, match=rf"has vision {field} .*, but its open_clip_config\.json says"):
        settle.settle(source, Wishes(**said))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"context_length": 40}, "context"),
        ({"layers": 11}, "n_layers"),
        ({"heads": 4}, "n_heads"),
        ({"no_causal_mask": True}, "causal"),
        ({"pool_type": "last"}, "pool"),
        ({"pool_type": "eos", "eos_id": 2}, "pool"),
        ({"pad_id": 1}, "pad_id"),
        ({"act_kwargs": {"approximate": "tanh"}}, "activation"),
        ({"norm_kwargs": {"eps": 1e-3}}, "eps"),
    ],
)
@pytest.mark.parametrize("said", [{"like": "ViT-B-16/laion2b_s34b_b88k"}, {"model": "ViT-B-16"}], ids=str)
def test_a_name_that_differs_from_a_folders_text_tower_in_any_field(change, field, said):
    cfg = registry.model_cfg("ViT-B-16")
    source = bare(own({**cfg, "text_cfg": {**cfg["text_cfg"], **change}}))
    with pytest.raises(CheckpointError, match=rf"has text {field} .*, but its open_clip_config\.json says"):
        settle.settle(source, Wishes(**said))


def test_the_highest_id_is_found_by_either_pool():
    cfg = registry.model_cfg("ViT-B-16")
    text = {**cfg["text_cfg"], "pool_type": "eos", "eos_id": cfg["text_cfg"]["vocab_size"] - 1}
    source = bare(own({**cfg, "text_cfg": text}))
    assert settle.settle(source, Wishes(like="ViT-B-16/laion2b_s34b_b88k")).config.text.pool == "argmax"


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
        ({"vision_width": "wide"}, "vision_cfg.width must be an integer; got 'wide'"),
        ({"vision_mlp_ratio": "wide"}, "vision_cfg.mlp_ratio must be a number; got 'wide'"),
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
