"""The command line as its users meet it: files out, one-line errors, exit statuses."""

import json

import numpy as np
import pytest
import towers
from PIL import Image

import jaxclip
from jaxclip import verify
from jaxclip.cli.main import main
from jaxclip.config import ClipConfig, PreprocessConfig
from jaxclip.convert import export_openclip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    vision, text = towers.vision(), towers.text(vocab_size=49408, context=12)
    preprocess = PreprocessConfig(
        size=(48, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), interpolation="bicubic", resize_mode="squash"
    )
    config = ClipConfig(name="small", vision=vision.config, text=text.config, preprocess=preprocess)
    params = {"vision": towers.params(vision), "text": towers.params(text), "logit_scale": np.float32(2.0)}
    path = tmp_path_factory.mktemp("openclip") / "small"
    export_openclip(params, config, path)
    return path


def run(*arguments):
    """Exit status of one command."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code


def test_convert_verify_and_decompose(folder, tmp_path, capsys):
    assert run("convert", folder, tmp_path / "model", "--json") == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(tmp_path / "model")
    assert run("convert", folder, tmp_path / "model") == 1
    assert "exists" in capsys.readouterr().err

    assert run("verify", tmp_path / "model", "--out", tmp_path / "verify.json", "--batch", 2) == 0
    checks = json.loads((tmp_path / "verify.json").read_text())["checks"]
    assert all(check["holds"] for check in checks)
    assert len([check for check in checks if check["what"].startswith("sum")]) == 8

    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(rng.integers(0, 255, (60, 90, 3), np.uint8)).save(tmp_path / name)
    pictures = [tmp_path / "a.png", tmp_path / "b.jpg"]
    texts = ["a dog", "<b>cat</b> & $co"]
    assert run("decompose", tmp_path / "model", *pictures, "--texts", *texts, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["pictures"]) == ["a", "b"]
    for name, picture in results["pictures"].items():
        assert picture["sum_error"] < 1e-6
        found = picture["texts"]["a dog"]
        total = found["init"] + np.sum(found["heads"]) + np.sum(found["mlp_by_layer"])
        assert abs(total - found["contrast"]) < 1e-6
        clip = jaxclip.load(tmp_path / "model")
        image = clip.encode_image(clip.preprocess([picture["file"]]), normalize=True)
        cosines = np.float64(clip.encode_text(clip.tokenize(texts), normalize=True)) @ np.float64(image)[0]
        assert found["similarity"] == pytest.approx(cosines[0], abs=1e-6)
        parts = [
            found["similarity"],
            found["contrast"],
            found["init"],
            np.sum(found["heads"]),
            np.sum(found["mlp_by_layer"]),
        ]
        strongest = found["strongest_heads"][0]
        shown = [*(f"{part:+.4f}" for part in parts), f"{strongest['layer']}.{strongest['head']}"]
        assert shown in [line.split()[2:8] for line in printed.splitlines() if line.split()[:2] == ["a", "dog"]]
        with Image.open(tmp_path / "out" / f"{name}_map.png") as figure:
            assert figure.size[0] > 300
        assert (tmp_path / "out" / f"{name}_heads.png").is_file()


def test_both_towers_equal_open_clips(folder, open_clip, tmp_path):
    assert run("verify", folder, "--out", tmp_path / "verify.json", "--batch", 2) == 0
    checks = json.loads((tmp_path / "verify.json").read_text())["checks"]
    assert {"image embedding, open_clip's own loading", "text embedding, open_clip's own loading"} <= {
        check["what"] for check in checks
    }
    assert sum(check["what"].startswith("contributions of layer") for check in checks) == 3


def test_what_is_out_of_tolerance_is_named_and_exits_1(folder, monkeypatch, capsys):
    monkeypatch.setattr(verify, "SUM_TOLERANCE", 0.0)
    assert run("verify", folder, "--json") == 1
    captured = capsys.readouterr()
    assert "out of tolerance: sum, detail full" in captured.err
    assert not all(check["holds"] for check in json.loads(captured.out)["checks"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "nowhere/at/all"), "nowhere/at/all"),
        (("decompose", "{folder}", "missing.jpg", "--texts", "a", "b", "--out", "{out}"), "missing.jpg"),
        (("decompose", "{folder}", "{broken}", "--texts", "a", "b", "--out", "{out}"), "broken.jpg"),
        (("demo", "--n-scenes", "0"), "at least 1"),
    ],
)
def test_errors_are_one_line_that_names_what_came(folder, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    filled = [part.format(folder=folder, broken=broken, out=tmp_path / "out") for part in arguments]
    assert run(*filled) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("jaxclip: ")
    assert said in lines[0]
    assert not (tmp_path / "out").exists()
