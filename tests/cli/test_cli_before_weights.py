"""What is wrong with a command is told before a weight, or an array of a run, is read."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import small
from command import only_line, scenes_run, status, with_info

from jaxclip import convert
from jaxclip.convert import sources
from jaxclip.files import checkpoint
from jaxclip.runs import bank, run


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A converted model of 3 layers of 4 heads, one in OpenCLIP's format, one that takes no texts, a
    run of the scenes' 6 layers of 4 heads, one without a bank, one without moments, one of other weights, and files."""
    base = tmp_path_factory.mktemp("places")
    found = {name: base / name for name in ("exported", "model", "mute", "run", "bare", "still", "other")}
    convert.convert(small.export(found["exported"]), found["model"])
    small.export(found["mute"])
    config = found["mute"] / "open_clip_config.json"
    fields = json.loads(config.read_text())
    fields["model_cfg"]["text_cfg"] = {"hf_model_name": "roberta-base"}
    config.write_text(json.dumps(fields))
    scenes_run(found["run"], "--bank", limit=20)
    scenes_run(found["bare"], limit=20)
    with_info(found["run"], found["still"], "options", moments=False)
    with_info(found["run"], found["other"], "model", hash="0")
    (base / "few.txt").write_text("a\nb\n")
    np.save(base / "few.npy", np.ones((2, 7), np.float32))
    (base / "flat.json").write_text("[]")
    return found | {"base": base}


@pytest.fixture
def unread(places, monkeypatch):
    """From here on, reading any of it fails."""

    def read(*_arguments, **_options):
        pytest.fail("it was read first")

    monkeypatch.setattr(checkpoint, "read_weights", read)
    monkeypatch.setattr(sources, "open_weights", read)
    monkeypatch.setattr(run, "read_state", read)
    monkeypatch.setattr(bank.Bank, "__init__", read)
    monkeypatch.chdir(places["base"])
    yield
    assert not Path("out").exists()


MODELS = [
    ("heatmap {m} scenes/0 a b --heads 99.3", "there is no head 99.3: the model has layers 0 to"),
    ("heatmap {m} scenes/0 a b --heads 1.9", "there is no head 1.9"),
    ("heatmap {m} scenes/0 a b --image-size 1", "is smaller than one patch"),
    ("segment {m} scenes --heads 9", "there is no head 9"),
    ("segment {m} scenes --window 16", "window must be at least the 32 pixels"),
    ("segment {m} scenes --window 96 --stride 49", "--stride must be 1 to"),
    ("segment {m} scenes --image-size 3", "is smaller than one patch"),
    ("run {m} scenes --batch 32 --parts 7", "a batch of 32 cannot be cut into 7 equal parts"),
    ("run {m} scenes --image-size 3", "is smaller than one patch"),
]
NO_TEXTS = [f"{line} mute {rest}" for line, rest in (("heatmap", "scenes/0 a b"), ("segment", "scenes"),
                                                     ("decompose", "scenes/0 --texts a b"))]  # fmt: skip


@pytest.mark.parametrize("model", ["exported", "model"])
@pytest.mark.parametrize(("line", "said"), MODELS)
def test_what_a_models_config_tells(unread, capsys, line, said, model):
    assert status(*shlex.split(line.format(m=model)), "--out", "out") == 1
    assert said in only_line(capsys.readouterr())


@pytest.mark.parametrize("line", NO_TEXTS)
def test_a_model_that_takes_no_texts(unread, capsys, line):
    assert status(*shlex.split(line), "--out", "out") == 1
    assert "has no text tower here" in only_line(capsys.readouterr())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("textspan run --layers 6", "layers must lie between 0 and 5; got [6]"),
        ("textspan run --steps 33", "steps must be between 1 and the rank, 32; got 33"),
        ("textspan run --rank 129", "rank must be between 1 and 128"),
        ("textspan run --texts none.txt", "there is no file"),
        ("textspan run --texts few.npy", "embeddings of 7 numbers; the model has 128"),
        ("textspan run --model nowhere", "nowhere"),
        ("textspan run --model model", "is not the model of run"),
        ("textspan still", "has no moments"),
        ("ablate run --heads 99.3", "there is no head 99.3"),
        ("ablate run --late 7", "late must be 1 to 6"),
        ("ablate run --steps 33", "steps must be between 1 and the rank"),
        ("ablate run --model model", "is not the model of run"),
        ("ablate run --means-from other", "means must come from the same model"),
        ("ablate run --means-from nowhere", "nowhere is no run"),
        ("ablate run --means-from still", "has no moments"),
        ("ablate bare", "is no bank"),
        ("debias run --heads 99.3", "there is no head 99.3"),
        ("debias run --heads 5.0 --late 0", "late must be 1 to 6"),
        ("debias run --property background --top 17", "top must be 1 to 16"),
        ("debias run --property mood", "mood"),
        ("debias run --heads 5.0 --model exported", "is not the model of run"),
        ("debias bare --heads 5.0", "is no bank"),
        ("retrieve run 0 --heads 6.0", "there is no head 6.0"),
        ("retrieve run 0 --property colour --steps 33", "steps must be between 1 and the rank"),
        ("retrieve run 0 --property colour --model model", "is not the model of run"),
        ("retrieve bare 0 --property colour", "is no bank"),
        ("retrieve still 0 --property colour", "has no moments"),
        ("report run --model model", "is not the model of run"),
        ("report run bare --model scenes nowhere", "nowhere"),
        ("report run still", "has no moments"),
        ("report run --pool few.npy", "embeddings of 7 numbers; the model has 128"),
        ("run scenes scenes --split test --limit 20 --batch 10 --bank --out run", "batch was 20 and is 10"),
        ("run scenes scenes --split test --limit 21 --batch 20 --bank --out run", "n_images was 20 and is 21"),
        ("run exported scenes --split test --limit 20 --batch 20 --bank --out run", "is a run of something else"),
    ],
)
def test_what_a_runs_own_words_tell(unread, capsys, line, said):
    words = shlex.split(line)
    assert status(*words, *(() if "--out" in words else ("--out", "out"))) == 1
    assert said in only_line(capsys.readouterr())


def test_a_plan_needs_no_weights(unread):
    from jaxclip.cli.commands.plan import _config

    assert [_config(name).n_layers for name in ("model", "exported", "ViT-L-14", "ViT-L-14/openai")] == [3, 3, 24, 24]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--like ViT-B-16", "must name a model and a tag"),
        ("--like ViT-B-16/nobody", "has no tag 'nobody'"),
        ("--like ViT-B-16/openai --model ViT-B-16", "not both"),
        ("--model ViT-B-61", "is not a native OpenCLIP ViT"),
        ("--model none.json", "there is no such file"),
        ("--model flat.json", "must hold a JSON object"),
        ("--model ViT-B-16 --preprocess blurred", "is not known; use one of"),
    ],
)
def test_a_conversions_words_are_checked_before_anything_is_fetched(unread, capsys, line, said):
    assert status("convert", "exported", "out", *line.split()) == 1
    assert said in only_line(capsys.readouterr())
