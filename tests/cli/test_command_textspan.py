"""`jaxclip textspan` over scenes: what it writes is the reference algorithm's, whatever the texts come from."""

import json

import numpy as np
import oracle
import pytest
from command import only_line, scenes_run, status, with_info
from PIL import Image

import jaxclip
from jaxclip.data.scenes import CHECKPOINT, FACTORS
from jaxclip.data.text_pools import descriptions, read_pool, scenes_pool
from jaxclip.tokenizer import from_folder
from jaxclip.zeroshot import text_embeddings

STEPS = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return scenes_run(tmp_path_factory.mktemp("runs") / "run", "--bank")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """One text in four of the scenes' words, an empty line, and the first text again at the end."""
    texts = list(scenes_pool().texts[::4])
    path = tmp_path_factory.mktemp("texts") / "pool.txt"
    path.write_text("\n".join([texts[0], "", *texts[1:], texts[0], ""]))
    return path


@pytest.fixture(scope="module")
def written(run, pool, tmp_path_factory):
    out = tmp_path_factory.mktemp("bases") / "out"
    assert status("textspan", run, "--texts", pool, "--steps", STEPS, "--layers", "all", "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def embeddings(pool):
    return text_embeddings(jaxclip.load(CHECKPOINT), read_pool(pool).texts)


def results(folder):
    return json.loads((folder / "results.json").read_text())


def samples(run, layer, head):
    opened = jaxclip.open_run(run)
    return np.float64(opened.bank.head(layer, head)) @ np.float64(opened.matrices[layer, head])


def test_every_heads_texts_are_the_reference_algorithms(run, pool, written, embeddings):
    result, arrays = results(written), np.load(written / "bases.npz")
    texts = [line for line in pool.read_text().splitlines() if line]
    assert list(result["heads"]) == [f"{layer}.{head}" for layer in range(6) for head in range(4)]
    assert (result["n_texts"], result["n_images"], result["rank"]) == (len(texts), 60, 32)
    variances = {}
    for name, found in result["heads"].items():
        layer, head = map(int, name.split("."))
        own = samples(run, layer, head)
        picks, rebuilt = oracle.textspan(own, embeddings, 32, STEPS)
        # The first text stands in the pool twice; which of the two is picked is a matter of rounding.
        assert [texts[i] for i in found["indices"]] == found["texts"] == [texts[i] for i in picks]
        variances[name] = np.square(own - own.mean(0)).sum()
        explained = 1 - np.square(own - rebuilt).sum() / variances[name]
        assert found["explained"][-1] == pytest.approx(explained, abs=1e-5)
        directions = np.float64(arrays["directions"][layer, head])
        back = arrays["mean"][layer, head] + (own - own.mean(0)) @ directions.T @ directions
        assert np.abs(back - rebuilt).max() < 1e-5
    for name, found in result["heads"].items():
        assert found["variance_share"] == pytest.approx(variances[name] / sum(variances.values()), rel=1e-4)


def test_a_rank_above_a_heads_is_cut_and_said(run, pool, tmp_path, capsys):
    """The released code's 80: a head of 32 numbers contributes in 35 dimensions at most."""
    for rank in (80, 35):
        arguments = ("--texts", pool, "--steps", STEPS, "--rank", rank, "--json", "--out", tmp_path / f"{rank}")
        assert status("textspan", run, *arguments) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out) == results(tmp_path / f"{rank}")
        notes = [line for line in printed.err.splitlines() if line.startswith("--")]
        assert notes == ["--rank 80 is more than a head of this model can have; the rank used is 35."] * (rank == 80)
    assert results(tmp_path / "80") == results(tmp_path / "35")
    assert results(tmp_path / "80")["rank"] == 35


def test_more_steps_than_texts_are_said_and_left_empty(run, tmp_path, capsys):
    (tmp_path / "few.txt").write_text("a star\ngrass\n")
    assert status("textspan", run, "--texts", tmp_path / "few.txt", "--steps", 4, "--out", tmp_path / "out") == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--")]
    assert notes == ["--steps 4 is more than the 2 texts of the pool; the rest is empty."]
    for found in results(tmp_path / "out")["heads"].values():
        assert (sorted(found["indices"][:2]), found["indices"][2:]) == ([0, 1], [-1, -1])


def test_a_report_says_when_its_heads_have_fewer_directions_than_steps(run, pool, tmp_path, capsys):
    few = ("--images", 1, "--pictures", 4, "--out", tmp_path / "report.html")
    for steps, said in ((40, ["--steps 40 is more than a head of run has directions; 32 are used."]), (32, [])):
        assert status("report", run, "--pool", pool, "--steps", steps, *few) == 0
        assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("--")] == said


def test_equal_texts_are_picked_once(written):
    result = results(written)
    assert all(result["n_texts"] - 1 not in found["indices"] for found in result["heads"].values())


def test_readable_files(written):
    result = results(written)
    report = (written / "bases.md").read_text()
    for name, found in result["heads"].items():
        assert f"## Head {name}:" in report
        assert f"| 1 | {found['texts'][0]} | {found['explained'][0]:.1%} |" in report
    with Image.open(written / "bases.png") as figure:
        assert min(figure.size) > 600


def test_embeddings_need_no_model(run, pool, written, embeddings, tmp_path, capsys):
    array = tmp_path / "pool.npy"
    np.save(array, 3 * np.asarray(embeddings))
    array.with_suffix(".txt").write_text("\n".join(read_pool(pool).texts))
    arguments = ("--texts", array, "--steps", STEPS, "--layers", "all", "--model", "nowhere", "--format", "svg")
    assert status("textspan", run, *arguments, "--out", tmp_path / "out", "--json") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result == results(tmp_path / "out")
    assert result["layers"] == list(range(6))
    for name, found in result["heads"].items():
        assert found["texts"] == results(written)["heads"][name]["texts"]
        assert found["texts"][0].split()[0] in printed.err
    assert (tmp_path / "out" / "bases.svg").is_file()


def test_one_image_leaves_nothing_to_explain(pool, tmp_path):
    single = scenes_run(tmp_path / "run", limit=1)
    arguments = ("--texts", pool, "--steps", STEPS, "--layers", "all", "--out", tmp_path / "out")
    assert status("textspan", single, *arguments) == 0
    for found in results(tmp_path / "out")["heads"].values():
        assert found["texts"] == [None] * STEPS
        assert found["indices"] == [-1] * STEPS
        assert found["explained"] == [1] * STEPS
        assert found["variance_share"] == 0
    assert (tmp_path / "out" / "bases.md").read_text().count("nothing left to explain") == 24


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--steps", "33"), "steps must be between 1 and the rank, 32; got 33"),
        (("--steps", "0"), "got 0"),
        (("--rank", "129"), "rank must be between 1 and 128"),
        (("--layers", "5", "6"), "layers must lie between 0 and 5; got [5, 6]"),
        (("--texts", "{tmp}/none.txt"), "there is no file"),
        (("--texts", "{tmp}/empty.txt"), "holds no texts"),
        (("--texts", "{tmp}/short.npy"), "has 3 embeddings and"),
        (("--texts", "{tmp}/zero.npy"), "the first is row 1"),
        (("--texts", "{tmp}/small.npy"), "embeddings of 7 numbers; the model has 128"),
        (("--texts", "{tmp}/binary.txt"), "no text in UTF-8"),
        (("--texts", "{tmp}/broken.npy"), "no NumPy array"),
        (("--model", "{tmp}/nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, capsys, options, said):
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00texts")
    (tmp_path / "broken.npy").write_bytes(b"no array")
    for name, rows in {"short": np.ones((3, 128)), "zero": np.eye(128)[[0, 0]], "small": np.ones((2, 7))}.items():
        np.save(tmp_path / f"{name}.npy", rows * [[1], [0]] if name == "zero" else rows)
        (tmp_path / f"{name}.txt").write_text("one\ntwo\n")
    filled = [part.format(tmp=tmp_path) for part in options]
    assert status("textspan", run, "--out", tmp_path / "out", *filled) == 1
    assert said in only_line(capsys.readouterr())
    assert not (tmp_path / "out").exists()


def test_runs_that_cannot_serve(run, tmp_path, capsys):
    other = with_info(run, tmp_path / "other", "model", hash="another")
    bare = with_info(run, tmp_path / "bare", "options", moments=False)
    for folder, said in ((other, "is not the model of other"), (bare, "has no moments"), (tmp_path, "is no run")):
        assert status("textspan", folder, "--out", tmp_path / "out") == 1
        assert said in only_line(capsys.readouterr())
    assert not (tmp_path / "out").exists()


def test_shipped_pools_know_their_categories():
    shipped, scenes = descriptions(), scenes_pool()
    assert len(shipped.categories) == len(shipped.texts) > 3400
    assert "A beige surface" in shipped.about("colour")
    assert set(scenes.categories) == set(FACTORS) - {"group"}
    assert len(set(scenes.texts)) == len(scenes.texts)
    for factor in ("background", "colour", "place"):
        assert len(scenes.about(factor)) > 3 * len(FACTORS[factor])
    with pytest.raises(ValueError, match="'taste' is no category of the pool scenes; it has background, shape"):
        scenes.about("taste")


def test_the_scenes_model_has_a_token_for_every_word_of_its_pool():
    texts = scenes_pool().texts
    lengths = (from_folder(CHECKPOINT, 32)(list(texts)) > 0).sum(1) - 2
    np.testing.assert_array_equal(lengths, [len(text.split()) for text in texts])
