"""What a checkpoint is called and where it lies: paths, tags and repositories, and what settles its configuration."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants
from parity import checkpoints
from parity.checkpoints import PREPROCESS, config

from jaxclip import convert
from jaxclip.convert import CheckpointError, registry
from jaxclip.convert.formats.openclip import OPENCLIP
from jaxclip.convert.sources import locate


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
    assert locate("laion/both").open().format is OPENCLIP


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
    assert locate("ViT-B-16/openai").home.path == Path("ViT-B-16/openai")


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
    assert locate(tmp_path).open().files[0].name == "epoch_2.safetensors"


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00", '"x"'])
def test_a_configuration_that_is_no_json_object(open_clip, tmp_path, content):
    checkpoints.make_openclip(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"open_clip_config.json (is not JSON|must hold a JSON object)"):
        convert.read(tmp_path)


def test_dtype_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match="dtype must be one of float32, bfloat16, float16; got 'int8'"):
        convert.read(tmp_path, dtype="int8")


def test_without_a_network_it_waits_only_once(offline, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    from jaxclip.convert.readers import hub

    asked = []

    def unreachable(repository, name, **options):
        asked.append(name)
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "hf_hub_download", unreachable)
    with pytest.raises(FileNotFoundError, match="it cannot be reached from here"):
        convert.read("hf-hub:org/absent")
    assert len(asked) == 1


def test_a_tag_whose_repository_holds_other_weights(offline):
    with pytest.raises(CheckpointError, match=r"holds other weights; download https://\S+ and pass .* like="):
        convert.read("ViT-B-16-plus-240/laion400m_e32")
