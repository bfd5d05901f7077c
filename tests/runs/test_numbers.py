"""An image has one number, from the list of images to the neighbours of a query, whatever else could not be read."""

import json

import numpy as np
import pytest
import small_pass
from command import status

from jaxclip.analyses.ablation import Ablation
from jaxclip.analyses.ablation_sweeps import sweep
from jaxclip.analyses.retrieval import bank_head_sum, mean_precision, nearest

HEAD, K = (2, 1), 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of 21 images, of which 3 and 11 cannot be read."""
    return small_pass.run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The list of images as it was written."""
    path = small_pass.pictures(tmp_path_factory.getbasetemp())
    return [line.split(",") for line in path.read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def embeddings(run, rows):
    """The tower's own, one picture after another, None where there is none."""
    folder, clip = run.folder.parent / "data", small_pass.clip()
    whole = [n for n in range(len(rows)) if n not in (3, 11)]
    found = {n: np.float64(clip.encode_image(clip.preprocess(folder / rows[n][0])))[0] for n in whole}
    return [found[n] / np.linalg.norm(found[n]) if n in found else None for n in range(len(rows))]


def test_the_number_is_the_same_in_the_list_the_run_and_the_bank(run, rows, embeddings):
    lines = [json.loads(line) for line in (run.folder / "images.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == list(range(21))
    stored, whole = run.bank.array("embedding").read().result(), run.bank.read("embedding")
    for line in lines:
        row = line["row"]
        assert line["name"] == run.names[row] == rows[row][0]
        for kind in run.label_names:
            assert line["labels"][kind] == run.labels[kind][row] == run.bank.labels(kind)[row]
        if "error" in line:
            assert line["error"] == run.errors[row]
            assert np.isnan(whole[row]).all()
            continue
        for own in (stored[row], whole[row], run.bank.read("embedding", np.array([row]))[0]):
            np.testing.assert_allclose(own, embeddings[row], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(run.head_state(slice(row, row + 1)).embedding[0], whole[row])
    np.testing.assert_array_equal(run.bank.head(*HEAD)[run.rows], run.bank.read("heads", run.rows)[:, 2, 1])


@pytest.mark.parametrize("asked", [[0, 5, 2], [9, 0, 7, 2, 5], [4, 3, 5], [-1], [7, 7, 8], slice(20, 2, -3)])
def test_rows_come_in_the_order_they_are_asked_for(run, asked):
    asked = asked if isinstance(asked, slice) else np.array(asked)
    np.testing.assert_array_equal(run.bank.read("mlp", asked), run.bank.read("mlp")[asked])


@pytest.mark.parametrize("row", [21, -22])
def test_a_number_that_no_image_has(run, row):
    with pytest.raises(ValueError, match="has images 0 to 20"):
        run.bank.read("mlp", np.array([row]))


@pytest.mark.parametrize("query", [0, 4, 12, 20])
def test_retrieve_takes_the_number_and_answers_with_numbers(run, rows, embeddings, tmp_path, query):
    assert status("retrieve", run.folder, query, "--heads", "2.1", "--late", 2, "--k", K, "--out", tmp_path) == 0
    (entry,) = json.loads((tmp_path / "results.json").read_text())["queries"]
    assert (entry["index"], entry["name"]) == (query, rows[query][0])
    cosines = {n: embeddings[query] @ x for n, x in enumerate(embeddings) if x is not None and n != query}
    assert [one["index"] for one in entry["by_embedding"]] == sorted(cosines, key=lambda n: -cosines[n])[:K]
    for one in entry["by_embedding"] + entry["by_heads"]:
        assert one["name"] == rows[one["index"]][0]
        label, group = rows[one["index"]][1:]
        assert one["labels"] == ({"label": label} if label else {}) | {"group": group}
    for one in entry["by_embedding"]:
        assert one["similarity"] == pytest.approx(cosines[one["index"]], abs=1e-6)


@pytest.mark.parametrize("query", ["3", "11", "name"])
def test_an_image_that_could_not_be_read_is_no_query(run, rows, tmp_path, capsys, query):
    query, options = rows[3][0] if query == "name" else query, ("--heads", "2.1", "--late", 2, "--k", K)
    assert status("retrieve", run.folder, query, *options, "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "could not be read (" in said
    assert rows[11 if query == "11" else 3][0] in said


def test_a_number_past_the_last_image(run, tmp_path, capsys):
    assert status("retrieve", run.folder, 21, "--heads", "2.1", "--late", 2, "--k", K, "--out", tmp_path / "out") == 1
    assert "a number from 0 to 20, the row in its images.jsonl" in capsys.readouterr().err


def test_arrays_of_a_bank_are_searched_as_they_are(run, embeddings):
    whole, there = run.bank.read("embedding"), run.rows
    found = nearest(whole[there], whole, 18, exclude=there)
    for row, indices in zip(there, np.asarray(found.indices), strict=True):
        cosines = {n: embeddings[row] @ embeddings[n] for n in there if n != row}
        assert sorted(indices.tolist()) == sorted(cosines)
        assert max(np.diff([cosines[n] for n in indices])) < 1e-6
    with pytest.raises(ValueError, match="k must be between 1 and 18"):
        nearest(whole[there], whole, 19, exclude=there)
    labels, own = run.labels["group"], bank_head_sum(run.bank, run.matrices, [HEAD])
    assert mean_precision(own, labels, K) == mean_precision(own[there], labels[there], K)


def test_a_sweep_refuses_what_could_not_be_read(run):
    classes, labels, sets = np.eye(3, run.config.vision.embed_dim, dtype=np.float32), run.labels["label"], None
    sets = Ablation.stack([Ablation.of(run.config.vision.n_layers, run.config.vision.n_heads)])
    rows = run.labelled("label")
    right = sweep(run, rows, run.means(), classes, labels[rows], sets)[0]
    embedding = run.bank.read("embedding").astype(np.float64)
    np.testing.assert_array_equal(right, embedding[rows, :3].argmax(1) == labels[rows])
    rows = np.flatnonzero(labels >= 0)
    with pytest.raises(ValueError, match=r"image 3 of .* could not be read .*; take numbers from run\.rows"):
        sweep(run, rows, run.means(), classes, labels[rows], sets)
