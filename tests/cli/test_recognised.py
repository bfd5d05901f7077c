"""`convert` ends with what it recognised, and where each of it was read."""

import json

import pytest
from parity import checkpoints

from jaxclip import convert
from jaxclip.cli.main import main
from jaxclip.files import checkpoint
from jaxclip.report.recognised import model_line, recognised


def command(capsys, *words):
    """What a conversion tells, without its last line, and its JSON."""
    with pytest.raises(SystemExit) as exit_:
        main(["convert", *map(str, words), "--json"])
    shown = capsys.readouterr()
    assert exit_.value.code == 0
    *lines, last = shown.err.splitlines()
    assert last == f"wrote {words[1]}"
    return lines, json.loads(shown.out)


def test_open_clips_folder(open_clip, tmp_path, capsys):
    checkpoints.make_openclip(tmp_path / "mine", checkpoints.config(quick_gelu=True))
    lines, result = command(capsys, tmp_path / "mine", tmp_path / "out")
    found = result["recognised"]
    assert [line.partition(":")[0] for line in lines] == list(found)
    assert found["weights"] == "a CLIP of OpenCLIP's, by the names in open_clip_model.safetensors"
    assert found["architecture"] == (
        "mine: ViT of 3 layers with 4 heads, width 48, 32 pixels in patches of 8, embedding 24 (its "
        "open_clip_config.json)"
    )
    assert found["activation"] == "quick_gelu (its open_clip_config.json)"
    assert found["text tower"] == "2 layers with 4 heads, width 32, 12 tokens of 60"
    assert found["preprocessing"].startswith("bilinear, squashed")
    assert "mean 0.5, 0.4, 0.3, deviation 0.2, 0.3, 0.4 (its open_clip_config.json)" in found["preprocessing"]
    assert found["tokenizer"].startswith("missing (it brings no tokenizer, and its vocabulary of 60 is not CLIP's")
    assert found["positions"] == "4 x 4 patches, as stored"


def test_hugging_faces_folder_beside_a_stale_description_and_resized(open_clip, tmp_path, capsys):
    checkpoints.make_hf(tmp_path / "tuned")
    stale = {"model_cfg": checkpoints.config()}
    (tmp_path / "tuned" / "open_clip_config.json").write_text(json.dumps(stale))
    found = command(capsys, tmp_path / "tuned", tmp_path / "out", "--image-size", 48)[1]["recognised"]
    assert found["weights"] == "a CLIPModel of transformers', by the names in model.safetensors"
    assert found["description"].startswith("config.json (its weights have Hugging Face's names; open_clip_config.json")
    assert "vision activation gelu, not quick_gelu" in found["description"]
    assert "48 pixels in patches of 8" in found["architecture"]
    assert found["activation"] == "quick_gelu (its config.json)"
    assert found["positions"].startswith("6 x 6 patches, the stored one covers (4, 4)")


def test_openais_archive_and_a_tag_for_weights_alone(open_clip, tmp_path, capsys):
    checkpoints.make_openai(tmp_path / "ViT.pt")
    found = command(capsys, tmp_path / "ViT.pt", tmp_path / "out")[1]["recognised"]
    assert found["weights"] == "a CLIP in OpenAI's archive, by the names in ViT.pt"
    assert found["activation"] == "quick_gelu (the shapes in its OpenAI archive; OpenAI trained with quick_gelu only)"


def test_two_activations_a_key_and_no_text_tower_are_said(open_clip, tmp_path):
    cfg = checkpoints.config(vision_act_kwargs={"approximate": "tanh"})
    checkpoints.make_openclip(tmp_path / "mixed", cfg)
    folder = convert.convert(tmp_path / "mixed", tmp_path / "out")
    config, _ = checkpoint.described(folder)
    provenance = json.loads((folder / checkpoint.PROVENANCE).read_text())
    provenance["options"]["key"] = {"value": "state_dict_ema", "why": "x"}
    provenance |= {"commit": "0123456789abcdef", "repository": "a/b"}
    found = recognised(config, provenance)
    assert found["activation"].startswith("gelu_tanh, gelu in the text tower")
    assert found["weights"].endswith("open_clip_model.safetensors of a/b at 0123456789ab, under state_dict_ema")
    assert model_line(config).startswith("model mixed: ViT of 3 layers with 4 heads, width 48, 32 pixels in patches ")
