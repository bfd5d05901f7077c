"""The table of models and tags is open_clip's own, and every native architecture maps without allocating it."""

import json
from pathlib import Path

import pytest

from jaxclip.convert import CheckpointError, registry, rules
from jaxclip.convert.configs import openclip_towers
from jaxclip.params import shapes

NATIVE = registry.model_names()
COCA = [name for name in NATIVE if "multimodal_cfg" in registry.model_cfg(name)]


def installed_configs(open_clip):
    folder = Path(open_clip.__file__).parent / "model_configs"
    configs = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    return {
        name: cfg
        for name, cfg in configs.items()
        if isinstance(cfg.get("vision_cfg", {}).get("layers"), int)
        and "timm_model_name" not in cfg["vision_cfg"]
        and "genlip_cfg" not in cfg
    }


def test_there_are_58_native_models_and_81_sets_of_weights():
    assert len(NATIVE) == 58
    named = {tag.name: tag for model in NATIVE for tag in registry.tags(model).values()}
    plain = {name: tag for name, tag in named.items() if not tag.model.endswith(registry.TWIN)}
    # One repository serves two tags: open_clip names the e31 repository for both of ViT-B-16-plus-240's.
    assert len(plain) == 82
    assert len({tag.repository for tag in plain.values()}) == 81


def test_models_are_those_of_the_installed_open_clip(open_clip):
    theirs = installed_configs(open_clip)
    assert len(theirs) >= 56
    for name, cfg in theirs.items():
        assert registry.model_cfg(name) == cfg, name
    newer = {name for name in NATIVE if "since" in registry._tables()["models"][name]}
    assert set(NATIVE) - newer <= set(theirs)


def test_tags_are_those_of_the_installed_open_clip(open_clip):
    """Repository, activation and preprocessing of every native tag, the -quickgelu twins included."""
    native = installed_configs(open_clip)
    theirs = {(model, tag) for model, tag in open_clip.list_pretrained() if model in native}
    ours = {(model, tag) for model in native for tag in registry.tags(model)}
    assert ours == theirs
    for model, tag in sorted(theirs):
        entry, said = registry.find_tag(model, tag), open_clip.get_pretrained_cfg(model, tag)
        assert entry.repository == said["hf_hub"].rstrip("/")
        assert entry.activation == ("quick_gelu" if said.get("quick_gelu") else "gelu")
        assert (entry.url or "") == said["url"]
        found = registry.named_preprocess(entry.preprocess, (8, 8))
        assert found.mean == tuple(said["mean"])
        assert found.std == tuple(said["std"])
        assert (found.interpolation, found.resize_mode) == (said["interpolation"], said["resize_mode"])


def test_a_twin_is_its_plain_model_with_the_other_activation():
    twins = [name for name in NATIVE if name.endswith(registry.TWIN)]
    assert len(twins) >= 8
    for name in twins:
        cfg = dict(registry.model_cfg(name))
        assert cfg.pop("quick_gelu") is True
        assert cfg == registry.model_cfg(name.removesuffix(registry.TWIN))


@pytest.mark.parametrize("name", NATIVE)
def test_every_native_model_maps_by_shape(open_clip, name):
    """Names and shapes that the rules expect are those of open_clip's model, built without memory."""
    import torch
    from open_clip.model import CLIP, CustomTextCLIP

    cfg = registry.model_cfg(name)
    if name in COCA:
        with pytest.raises(CheckpointError, match="CoCa"):
            openclip_towers(cfg)
        return
    towers = openclip_towers(cfg)
    config = towers.config(name, registry.named_preprocess("openai-bicubic-shortest", towers.vision.image_size))
    built = {key: value for key, value in cfg.items() if key != "custom_text"}
    if towers.text is None:
        built = {**built, "text_cfg": {"width": 64, "layers": 1, "heads": 1, "vocab_size": 8, "context_length": 4}}
    custom = cfg.get("custom_text", False) and towers.text is not None
    with torch.device("meta"):
        model = (CustomTextCLIP if custom else CLIP)(**built)
    theirs = {key: tuple(value.shape) for key, value in model.state_dict().items() if key != "attn_mask"}
    layout = rules.detect_layout(set(theirs))
    moves = rules.moves(config, layout, set(theirs))
    wanted = {move.source: move.shape for move in moves}
    if towers.text is None:
        theirs = {key: shape for key, shape in theirs.items() if key.startswith("visual.") or key == "logit_scale"}
    assert wanted == theirs
    assert {move.target for move in moves} == set(shapes(config))
    head = model.visual.transformer.resblocks[0].attn.num_heads
    assert (config.vision.n_heads, config.vision.grid) == (head, tuple(model.visual.grid_size))


@pytest.mark.parametrize("name", sorted({tag.name for model in NATIVE for tag in registry.tags(model).values()}))
def test_every_tag_is_settled_completely(name):
    """Activation, preprocessing and size of each tag follow from the table, or the model is refused by name."""
    model, _, tag = name.partition("/")
    entry = registry.find_tag(model, tag)
    if model in COCA:
        return
    towers = openclip_towers(registry.model_cfg(model), entry.activation)
    assert towers.vision.activation == entry.activation
    assert towers.text is None or towers.text.activation == entry.activation
    assert registry.named_preprocess(entry.preprocess, towers.vision.image_size).size == towers.vision.image_size
