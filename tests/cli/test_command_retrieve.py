"""`jaxclip retrieve` over scenes, beside cosines in float64 from the bank."""

import json
import shutil

import bird_run
import numpy as np
import pytest
from command import only_line, status
from PIL import Image

import jaxclip
import jaxclip.clip
from jaxclip.data.scenes import FACTORS, scene
from jaxclip.report.retrieve import print_neighbours

HEADS = [(5, 2), (2, 1)]
K = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return bird_run.scenes(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def given(run, tmp_path_factory):
    """Results for heads named by hand; the model is not needed for them."""
    out = tmp_path_factory.mktemp("retrieve") / "given"
    queries, kinds = ("7", "test/000004"), ("background", "bird")
    options = ("--heads", "5.2,2.1,2.1", "--k", K, "--model", "nowhere", "--precision", *kinds)
    assert status("retrieve", run, *queries, *options, "--out", out) == 0
    return json.loads((out / "results.json").read_text())


def vectors(run, heads=HEADS):
    """What images are compared by: chosen heads less their mean, and the whole embedding."""
    opened = jaxclip.open_run(run)
    chosen = sum(np.float64(opened.bank.head(*head)) @ np.float64(opened.matrices[head]) for head in heads)
    return {"by_heads": chosen - chosen.mean(0), "by_embedding": np.float64(opened.bank.read("embedding"))}


def cosines(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


def test_nearest_are_nearest_by_cosine(run, given):
    assert given["heads"] == ["5.2", "2.1"]
    assert [entry["index"] for entry in given["queries"]] == [7, 4]
    for way, x in vectors(run).items():
        for entry in given["queries"]:
            found = cosines(x)[entry["index"]]
            found[entry["index"]] = -np.inf
            assert [row["index"] for row in entry[way]] == np.argsort(-found)[:K].tolist()
            assert [row["similarity"] for row in entry[way]] == pytest.approx(-np.sort(-found)[:K], abs=1e-5)
    for entry in given["queries"]:
        both = [{row["index"] for row in entry[way]} for way in ("by_heads", "by_embedding")]
        assert entry["n_common"] == len(both[0] & both[1])


def test_neighbours_have_their_names_and_labels(given, capsys):
    assert [(entry["query"], entry["name"]) for entry in given["queries"]] == [
        ("7", "test/000007"), ("test/000004", "test/000004")
    ]  # fmt: skip
    print_neighbours(given, most=2)
    assert "Nearest to test/000007 (image 7) by cosine similarity" in capsys.readouterr().err
    for row in given["queries"][0]["by_heads"]:
        drawn = scene(0, "test", row["index"])["labels"]
        assert row["name"] == f"test/{row['index']:06d}"
        assert row["labels"] == {kind: FACTORS[kind][index] for kind, index in drawn.items() if index >= 0}


def test_precision_is_the_share_of_neighbours_with_the_querys_label(run, given):
    labels = jaxclip.open_run(run).labels
    for kind, found in given["precision"].items():
        own = labels[kind][labels[kind] >= 0]
        n = len(own)
        assert (found["n_images"], found["n_values"]) == (n, len(FACTORS[kind]))
        same = (own[:, None] == own) & ~np.eye(n, dtype=bool)
        assert found["chance"] == pytest.approx((same.sum(1) / (n - 1)).mean(), abs=1e-6)
        chosen, whole = (x[labels[kind] >= 0] for x in vectors(run).values())
        ways = {"by_heads": chosen - chosen.mean(0), "by_embedding": whole}
        for way, x in (ways | {"by_centred_embedding": whole - whole.mean(0)}).items():
            near = cosines(x) - 3 * np.eye(n)
            order = np.argsort(-near, axis=1)[:, :K]
            assert found[way] == pytest.approx(np.take_along_axis(same, order, 1).mean(), abs=1e-6)


def test_figures(run, given, tmp_path_factory):
    folder = next(tmp_path_factory.getbasetemp().glob("retrieve*/given"))
    for name in ("nearest_0", "nearest_1", "precision"):
        with Image.open(folder / f"{name}.png") as figure:
            assert min(figure.size) > 300


def test_a_file_finds_the_image_it_is(run, tmp_path, tmp_path_factory, monkeypatch):
    own, pool, *_ = bird_run.texts(tmp_path_factory.getbasetemp())
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene(0, "test", 11)["image"]).save("12", "PNG")
    options = ("--property", "scenery", "--property-texts", own, "--texts", pool, "--steps", 4, "--late", 2)
    assert status("retrieve", run, "12", *options, "--k", 3, "--out", "out") == 0
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    (entry,) = result["queries"]
    assert entry["index"] is None
    for way in ("by_heads", "by_embedding"):
        assert entry[way][0]["index"] == 11
        assert entry[way][0]["similarity"] == pytest.approx(1, abs=1e-4)
    held = [row["head"] for row in result["ranking"] if row["score"] >= bird_run.HELD]
    assert result["heads"] == (held or [result["ranking"][0]["head"]])
    assert all(row["head"][0] in "45" for row in result["ranking"])
    assert (result["property"], result["proposed"]) == ("scenery", True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{tmp}/broken.png",), "broken.png: this is no image"),
        (("7", "--split", "dev"), "the scenes have the splits train, validation, test; got 'dev'. Say where they are"),
        (("7", "--data", "{tmp}"), "holds no images"),
    ],
)
def test_pictures_that_are_not_there_are_missed_before_the_model_loads(run, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.setattr(jaxclip.clip, "load", lambda *_, **__: pytest.fail("the model was loaded first"))
    (tmp_path / ("broken.png" if "broken" in words[0] else "words.txt")).write_text("no picture")
    filled = [word.format(tmp=tmp_path) for word in words]
    assert status("retrieve", run, *filled, "--property", "colour", "--out", tmp_path / "out") == 1
    assert said in only_line(capsys.readouterr())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give a query"),
        (("7",), "--property"),
        (("80", "--heads", "5.0"), "a number from 0 to 79"),
        (("missing.png", "--heads", "5.0"), "missing.png is no file and no image of run"),
        (("{tmp}/broken.png", "--heads", "5.0"), "broken.png"),
        (("7", "--heads", "5.4"), "no head 5.4 in a model of 6 layers of 4 heads"),
        (("7", "--heads", "5"), "layer.head"),
        (("7", "--property", "mood"), "no texts about 'mood'; it has background"),
        (("7", "--property", "colour", "--late", "0"), "late must be 1 to 6"),
        (("7", "--property", "colour", "--top", "0"), "top must be 1 to 16"),
        (("7", "--heads", "5.0", "--k", "80"), "k must be 1 to 79"),
        (("--precision", "mood"), "no labels of kind 'mood'; it has background"),
        (("--precision", "group"), "no texts about 'group'; it has background"),
        (("--precision", "bird", "--heads", "5.0", "--k", "20"), "k must be between 1 and 19"),
        (("7", "--property", "colour", "--model", "{tmp}/nowhere"), "nowhere"),
        (("7", "--heads", "5.0", "--data", "{tmp}/nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, options, said):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    filled = [option.format(tmp=tmp_path) for option in options]
    assert status("retrieve", run, *filled, "--out", tmp_path / "out") == 1
    assert said in only_line(capsys.readouterr())
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_bank_cut_short_is_noticed(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "cut")
    for part in (tmp_path / "cut" / "bank" / "heads" / "c").rglob("*"):
        if part.is_file():
            part.unlink()
    assert status("retrieve", tmp_path / "cut", "7", "--heads", "5.0", "--out", tmp_path / "out") == 1
    assert "80 images are missing" in only_line(capsys.readouterr())
