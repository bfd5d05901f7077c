"""Photographs that lie on their side: turned where it is asked for, in what the model sees and in what is shown."""

import json
import shutil

import numpy as np
import pytest
import small
from PIL import Image
from test_cli import run

TEXTS = ["a dog", "grass"]
SIDEWAYS = 6  # of EXIF's eight orientations: turn by a quarter, clockwise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small.export(tmp_path_factory.mktemp("openclip") / "small")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A picture as a camera stores it, with the tag; and the same one stored upright."""
    home = tmp_path_factory.mktemp("pictures")
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = SIDEWAYS
    upright.transpose(Image.Transpose.ROTATE_90).save(home / "camera.png", exif=exif)
    upright.save(home / "upright.png")
    return home / "camera.png", home / "upright.png"


def results(out):
    """results.json without what the file is called."""
    return json.loads((out / "results.json").read_text().replace("camera", "upright"))


def test_heatmap_and_decompose_show_it_as_they_read_it(folder, photographs, tmp_path):
    for command, name in (("heatmap", "heatmap.png"), ("decompose", "{}_map.png")):
        made = []
        for path, options in ((photographs[0], ["--apply-exif"]), (photographs[1], [])):
            out = tmp_path / command / path.stem
            words = [*TEXTS] if command == "heatmap" else ["--texts", *TEXTS]
            assert run(command, folder, path, *words, "--out", out, *options) == 0
            made.append((results(out), Image.open(out / name.format(path.stem)).tobytes()))
        assert made[0] == made[1]


@pytest.mark.filterwarnings("default:.*EXIF")
def test_it_stays_as_stored_with_a_line_that_says_how_to_turn_it(folder, photographs, tmp_path, capsys):
    assert run("heatmap", folder, photographs[0], *TEXTS, "--out", tmp_path / "out") == 0
    assert "--apply-exif" in capsys.readouterr().err
    assert results(tmp_path / "out")["picture"]["size"] == [90, 60]


def test_segment_turns_what_it_reads_and_shows(folder, photographs, tmp_path):
    made = []
    for path, options in ((photographs[0], ["--apply-exif"]), (photographs[1], [])):
        (tmp_path / path.stem).mkdir()
        picture = shutil.copy(path, tmp_path / path.stem / "one.png")
        out = tmp_path / path.stem / "out"
        assert run("segment", folder, picture, "--classes", *TEXTS, "--out", out, *options) == 0
        made.append((results(out), *(Image.open(file).tobytes() for file in sorted(out.rglob("*.png")))))
    assert made[0] == made[1]
    assert len(made[0]) == 3


@pytest.mark.filterwarnings("default:.*EXIF")
def test_segment_says_once_that_pictures_stay_as_stored(folder, photographs, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in "ab":
        shutil.copy(photographs[0], tmp_path / "in" / f"{name}.png")
    assert run("segment", folder, tmp_path / "in", "--classes", *TEXTS, "--out", tmp_path / "out") == 0
    assert capsys.readouterr().err.count("--apply-exif") == 1


def test_a_query_is_turned_where_the_runs_images_were(folder, photographs, tmp_path):
    (tmp_path / "in").mkdir()
    for i, noise in enumerate(np.random.default_rng(1).integers(0, 255, (3, 60, 90, 3), np.uint8)):
        Image.fromarray(noise).save(tmp_path / "in" / f"{i}.png")
    shutil.copy(photographs[1], tmp_path / "in" / "upright.png")
    made = tmp_path / "run"
    assert run("run", folder, tmp_path / "in", "--bank", "--batch", "4", "--apply-exif", "--out", made) == 0
    out = tmp_path / "out"
    assert run("retrieve", made, photographs[0], "--heads", "2.0,2.3", "--late", "1", "--k", "1", "--out", out) == 0
    (query,) = results(out)["queries"]
    assert query["by_embedding"][0]["name"] == "upright.png"
    assert query["by_embedding"][0]["similarity"] == pytest.approx(1, abs=1e-6)
