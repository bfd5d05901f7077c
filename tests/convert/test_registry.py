"""The table of models and tags is open_clip's own, and every native architecture maps without allocating it."""

import json
import warnings
from pathlib import Path

import pytest

from jaxclip.config import PreprocessConfig
from jaxclip.convert import CheckpointError, registry
from jaxclip.convert.formats import detect
from jaxclip.convert.formats.format import pair
from jaxclip.convert.formats.openclip import openclip_towers
from jaxclip.model.params import shapes

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
    """Every native tag and where its weights are, the -quickgelu twins included."""
    native = installed_configs(open_clip)
    theirs = {(model, tag) for model, tag in open_clip.list_pretrained() if model in native}
    ours = {(model, tag) for model in native for tag in registry.tags(model)}
    assert ours == theirs
    for model, tag in sorted(theirs):
        entry, said = registry.find_tag(model, tag), open_clip.get_pretrained_cfg(model, tag)
        assert entry.repository == said["hf_hub"].rstrip("/")
        assert (entry.url or "") == said["url"]


def built(open_clip, model, tag):
    """What OpenCLIP makes of `model/tag`, one block deep and without weights, and whether it warns of the activation.

    A text tower of transformers, which would be fetched, gives way to a small native one.
    """
    import torch

    cfg = open_clip.get_model_config(model)
    text = {"width": 64, "layers": 1, "heads": 1, "vocab_size": 8, "context_length": 4}
    if "hf_model_name" not in cfg["text_cfg"]:
        text = {**cfg["text_cfg"], "layers": 1}
    with warnings.catch_warnings(record=True) as said, torch.device("meta"):
        warnings.simplefilter("always")
        found = open_clip.create_model(
            model, tag, load_weights=False, device="meta", vision_cfg={**cfg["vision_cfg"], "layers": 1}, text_cfg=text
        )
    return found, any("QuickGELU mismatch" in str(warning.message) for warning in said)


@pytest.mark.parametrize("name", sorted({tag.name for model in NATIVE for tag in registry.tags(model).values()}))
def test_a_tag_is_what_open_clip_builds(open_clip, monkeypatch, name):
    """Both towers' activation, and the whole preprocessing, read from the model that its factory makes of the tag.

    Where the factory warns that a plain name is not what the weights were trained as, its twin is what it means.
    """
    model, _, tag = name.partition("/")
    if model not in installed_configs(open_clip):
        pytest.skip("newer than the installed open_clip")
    monkeypatch.setattr("open_clip.factory.download_pretrained", lambda *_arguments, **_options: "unread.pt")
    theirs, mismatch = built(open_clip, model, tag)
    if mismatch and model + registry.TWIN in NATIVE:
        theirs, mismatch = built(open_clip, model + registry.TWIN, tag)
        assert not mismatch
    activations = {"QuickGELU": "quick_gelu", "GELU": "gelu"}
    entry = registry.find_tag(model, tag)
    ours = openclip_towers(registry.model_cfg(model), entry.activation) if model not in COCA else None
    for tower, own in ((theirs.visual, ours and ours.vision), (getattr(theirs, "text", theirs), ours and ours.text)):
        assert activations[type(tower.transformer.resblocks[0].mlp.gelu).__name__] == entry.activation
        assert own is None or own.activation == entry.activation
    found = registry.named_preprocess(entry.preprocess, pair(theirs.visual.image_size))
    said = dict(theirs.visual.preprocess_cfg)
    assert said.pop("mode") == "RGB"
    assert found == PreprocessConfig(
        size=pair(said.pop("size")), mean=tuple(said.pop("mean")), std=tuple(said.pop("std")),
        fill=said.pop("fill_color"), **said,
    )  # fmt: skip


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
    moves = detect(set(theirs)).moves(config, set(theirs))
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
