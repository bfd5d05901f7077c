"""Which of PyTorch's models a checkpoint is compared with."""

import pytest
from huggingface_hub import constants
from parity import checkpoints

import jaxclip
from jaxclip import verify


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The folder of `org/repo` in a cache without a network."""
    home = tmp_path / "hub" / "models--org--repo"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return home / "snapshots" / ("a" * 40)


def test_a_hugging_face_repository_is_compared_with_its_exported_weights(open_clip, repository):
    """open_clip loads no repository without its own configuration."""
    checkpoints.make_hf(repository)
    clip = jaxclip.load("hf-hub:org/repo")
    checks = list(verify.compare(clip, "hf-hub:org/repo", verify.probe_images(clip, 1)))
    assert "image embedding, weights exported to open_clip" in {check.what for check in checks}
    assert all(check.holds for check in checks)


def test_a_repository_of_open_clip_is_loaded_by_it(open_clip, repository, monkeypatch):
    checkpoints.make_openclip(repository)
    monkeypatch.setattr(open_clip, "create_model", lambda name, **_: checkpoints.build(checkpoints.CFG))
    clip = jaxclip.load("hf-hub:org/repo")
    checks = list(verify.compare(clip, "hf-hub:org/repo", verify.probe_images(clip, 1)))
    assert "image embedding, open_clip's own loading" in {check.what for check in checks}


def test_a_file_that_open_clip_does_not_take_is_not_compared_with_random_weights(open_clip, tmp_path):
    """It looks for weights by name, and builds a random model where there are none; wrapped ones it cannot read."""
    import torch

    model = checkpoints.make_openclip(tmp_path)
    (tmp_path / "open_clip_model.safetensors").unlink()
    state = {f"clip.{name}": tensor for name, tensor in model.state_dict().items()}
    for name in ("epoch_3.pt", "open_clip_pytorch_model.bin"):
        torch.save({"model": state}, tmp_path / name)
        clip = jaxclip.load(tmp_path)
        checks = list(verify.compare(clip, tmp_path, verify.probe_images(clip, 1)))
        assert "image embedding, weights exported to open_clip" in {check.what for check in checks}
        assert all(check.holds for check in checks)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_open_clip_is_told_the_activation_of_a_tag(open_clip, tmp_path, monkeypatch, activation):
    """Where it is not told, ViT-B-16/openai has the gelu of the plain name."""
    cfg = checkpoints.config(quick_gelu=activation == "quick_gelu")
    checkpoints.make_openclip(tmp_path, cfg)

    def create_model(name, *, pretrained, force_quick_gelu, require_pretrained):
        assert (name, pretrained) == ("ViT-B-16", "openai")
        return checkpoints.build(checkpoints.config(quick_gelu=force_quick_gelu))

    monkeypatch.setattr(open_clip, "create_model", create_model)
    clip = jaxclip.load(tmp_path)
    checks = list(verify.compare(clip, "ViT-B-16/openai", verify.probe_images(clip, 1)))
    assert all(check.holds for check in checks)
