"""The mean that the literature on Waterbirds reports: groups weighted by the training split, never by a guess."""

import csv
import json

import bird_run
import jax.numpy as jnp
import numpy as np
import pytest
import small_pass
from command import only_line, status
from PIL import Image

import jaxclip
from jaxclip.analyses.debias import GroupCounts
from jaxclip.analyses.training_groups import training_groups
from jaxclip.data.open_data import open_data
from jaxclip.runs.run_pass import PassOptions, run_pass

COUNTS = {"duck_on_land": 300, "duck_on_water": 1200, "finch_on_land": 0, "finch_on_water": 17}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return bird_run.scenes(tmp_path_factory.getbasetemp())


def debias(run, out, *options):
    assert status("debias", run, "--label", "bird", "--heads", "5.2", "--draws", 2, *options, "--out", out) == 0
    return json.loads((out / "results.json").read_text())


def test_both_means_are_there_by_their_names(run, tmp_path, capsys):
    names = jaxclip.open_run(run).label_names["group"]
    weights = dict(zip(names, COUNTS.values(), strict=True))
    found = debias(run, tmp_path / "out", "--training-groups", ",".join(f"{name}={n}" for name, n in weights.items()))
    said = capsys.readouterr().err
    assert found["training_groups"] == {"source": "as given", "n_images": weights}
    for part in ("before", "after"):
        groups = {name: one["accuracy"] for name, one in found[part]["groups"].items()}
        weighted = sum(groups[name] * n for name, n in weights.items()) / sum(weights.values())
        assert found[part]["weighted"] == pytest.approx(weighted, abs=1e-6)
        line = next(line for line in said.splitlines() if "mean weighted by training groups" in line)
        assert f"{found[part]['weighted']:.1%}" in line
        assert found[part]["overall"] == pytest.approx(np.mean(list(groups.values())), abs=1e-6)  # as many of each
    draws = [one["weighted"] for one in found["random"]["draws"]]
    assert found["random"]["weighted"]["mean"] == pytest.approx(np.mean(draws), abs=1e-9)
    assert found["curve"]["weighted"][0] == found["before"]["weighted"]


def test_a_run_over_the_training_split_is_counted_and_without_one_it_is_unknown(run, tmp_path, capsys):
    held_out = bird_run.held_out(run.parents[1])
    found = debias(run, tmp_path / "known", "--training-groups", held_out)["training_groups"]
    groups, names = jaxclip.open_run(held_out).labels["group"], list(found["n_images"])
    assert list(found["n_images"].values()) == [int((groups == place).sum()) for place in range(len(names))]
    capsys.readouterr()
    found = debias(run, tmp_path / "unknown", "--means-from", held_out)  # for means, and of no known split
    assert (found["training_groups"], found["before"]["weighted"], found["random"]["weighted"]) == (None, None, None)
    assert "needs --training-groups" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "said"), [
    ("duck_on_land=3", "a number of images for each of the groups"),
    ("3,4,5,6", "a number of images for each of the groups"),
    ("nowhere", "takes a run over the training split, or a number"),
    ("{zeros}", "have no images"),
])  # fmt: skip
def test_what_is_no_split(run, tmp_path, capsys, given, said):
    names = jaxclip.open_run(run).label_names["group"]
    given = given.format(zeros=",".join(f"{name}=0" for name in names))
    options = ("--label", "bird", "--heads", "5.2", "--training-groups", given)
    assert status("debias", run, *options, "--out", tmp_path / "out") == 1
    assert said in only_line(capsys.readouterr())


def test_waterbirds_says_it_itself(tmp_path):
    """A split without the others' pictures is enough: its metadata.csv lists them all."""
    rng, rows = np.random.default_rng(0), []
    for n, split in enumerate([0] * 20 + [2] * 4):
        rows.append((f"{n}.png", *rng.integers(0, 2, 2).tolist(), split))
        if split == 2:
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / f"{n}.png")
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("img_filename", "y", "place", "split"), *rows])
    source = open_data(tmp_path, split="test")
    run = run_pass(small_pass.clip(), source, tmp_path / "run", PassOptions(batch=4))
    found = training_groups(run, "group")
    assert list(found.n_images.values()) == [
        sum((y, place) == one for _, y, place, split in rows if split == 0) for one in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert training_groups(run, "place").n_images["land"] == sum(place == 0 for *_, place, split in rows if split == 0)
    (tmp_path / "metadata.csv").unlink()
    assert training_groups(run, "group") is None


def test_a_group_of_some_weight_without_images_leaves_the_mean_unknown():
    counts = GroupCounts(jnp.array([[3.0, 0, 1]]), jnp.array([[4.0, 0, 2]]))
    assert np.isnan(counts.weighted(np.array([1, 1, 1], np.float32)))
    np.testing.assert_allclose(counts.weighted(np.array([3, 0, 1], np.float32)), [0.75 * 0.75 + 0.25 * 0.5])


def test_a_pool_without_categories_is_told_what_it_lacks(run, tmp_path, capsys):
    _, pool, *_ = bird_run.texts(run.parents[1])
    options = ("--label", "bird", "--property", "background", "--texts", pool)
    assert status("debias", run, *options, "--out", tmp_path / "out") == 1
    said = only_line(capsys.readouterr())
    assert "does not say what they are about" in said
    assert "--property-texts" in said
