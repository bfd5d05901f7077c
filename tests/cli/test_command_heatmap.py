"""`jaxclip heatmap`: maps are the library's, overlays the picture's size, and colours mean what they say."""

import json

import numpy as np
import pytest
import small
from PIL import Image
from test_cli import run

import jaxclip
from jaxclip.analyses.direct_effects import text_directions
from jaxclip.model.head_names import chosen_heads
from jaxclip.preprocess import crop_box
from jaxclip.report.colours import diverging
from jaxclip.report.overlays import STRENGTH, overlay

TEXTS = ["a dog", "<b>cat</b> & $co", "grass"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small.export(tmp_path_factory.mktemp("openclip") / "small")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)).save(path)
    return path


def lab(colours):
    """sRGB in [0, 1] to CIELAB, by its definition."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124564, 0.2126729, 0.0193339], [0.3575761, 0.7151522, 0.1191920],
                             [0.1804375, 0.0721750, 0.9503041]]) / [0.95047, 1, 1.08883]  # fmt: skip
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)


def test_the_colour_map_is_perceptually_uniform_and_centred():
    colours = lab(diverging(201)(np.linspace(0, 1, 201))[:, :3])
    steps = np.linalg.norm(np.diff(colours, axis=0), axis=-1)
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-3)
    np.testing.assert_allclose(colours[:, 0], colours[::-1, 0], atol=1e-6)
    np.testing.assert_allclose(colours[100, 1:], 0, atol=1e-2)
    assert colours[:, 0].argmax() == 100
    assert colours[-1, 1] > 20 > 0 > colours[0, 2]  # red above, blue below


def test_an_overlay_is_grey_at_zero_and_symmetric_in_sign():
    black = np.zeros((1, 3, 3), np.uint8)
    values = np.array([[-2.0, 0.0, np.nan]], np.float32)
    below, zero, unseen = overlay(black, values, 2.0)[0].astype(int)
    above = overlay(black, -values, 2.0)[0, 0].astype(int)
    assert np.ptp(zero) <= 1
    assert abs(zero[0] - 255 * STRENGTH * 0.955) < 3
    assert not unseen.any()
    assert below[2] > below[0]
    assert above[0] > above[2]


def test_all_texts_over_the_whole_picture(folder, picture, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = (
        "heatmap",
        folder,
        picture,
        *TEXTS,
        "--heads",
        "0.1",
        "2.3",
        "--each",
        "--format",
        "png",
        "svg",
        "--out",
        out,
        "--json",
    )
    assert run(*arguments) == 0
    captured = capsys.readouterr()
    found = json.loads((out / "results.json").read_text())
    assert json.loads(captured.out) == found
    clip = jaxclip.load(folder)
    inputs = clip.preprocess([picture])
    directions = text_directions(clip, TEXTS, relative=True)
    norm = np.linalg.norm(clip.encode_image(inputs))
    every = np.asarray(clip.vision.map(inputs, directions, each=True))[0] / norm
    expected = [every[0, 1] + every[2, 3], every[0, 1], every[2, 3]]
    assert [row["name"] for row in found["rows"]] == [
        "2 heads together", "layer 0, head 1", "layer 2, head 3"
    ]  # fmt: skip
    assert found["heads"] == ["0.1", "2.3"]
    for row, maps in zip(found["rows"], expected, strict=True):
        np.testing.assert_allclose(row["maps"], maps[1:].T.reshape(3, 3, 4), atol=1e-6)
    assert len({row["limit"] for row in found["rows"][1:]}) == 1
    similarity = np.asarray(clip.encode_image(inputs))[0] @ np.asarray(directions).T / norm
    np.testing.assert_allclose([text["contrast"] for text in found["texts"].values()], similarity, atol=1e-6)
    cosines = (
        np.asarray(clip.encode_image(inputs))[0] @ np.asarray(text_directions(clip, TEXTS, relative=False)).T / norm
    )
    np.testing.assert_allclose([text["similarity"] for text in found["texts"].values()], cosines, atol=1e-6)
    added = expected[0].sum(0)
    np.testing.assert_allclose([text["heads"] for text in found["texts"].values()], added, atol=1e-6)
    (line,) = [line for line in captured.err.splitlines() if line.split()[:2] == ["a", "dog"]]
    assert line.split()[2:] == [f"{x:+.4f}" for x in (cosines[0], similarity[0], added[0])]
    assert found["picture"]["box"] == list(crop_box((90, 60), clip.config.preprocess))
    assert (out / "heatmap.svg").stat().st_size > 1000
    for name in set(found["files"]) - {"heatmap.svg"}:
        with Image.open(out / name) as drawn:
            drawn.load()
            assert drawn.size == (90, 60) if name.startswith("overlay") else drawn.width > 4 * 270
    # The model saw the middle: what lies beside it is grey.
    with Image.open(out / "overlay_0_0.png") as drawn:
        pixels = np.asarray(drawn).astype(int)
    assert not np.ptp(pixels[:, :20], axis=-1).any()
    assert np.ptp(pixels[:, 25:65], axis=-1).any()


def test_one_text_and_no_head_named(folder, picture, tmp_path, capsys):
    assert run("heatmap", folder, picture, "a dog", "--out", tmp_path / "out") == 0
    assert "tokens" not in capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["heads"] == "all"
    assert found["files"] == ["heatmap.png", "overlay_0_0.png"]


@pytest.mark.parametrize("command", [("heatmap",), ("decompose", "--texts")])
def test_texts_that_the_model_reads_only_the_beginning_of_are_named(folder, picture, tmp_path, capsys, command):
    n = jaxclip.load(folder).config.text.context
    fits, longer = " ".join(["dog"] * (n - 2)), " ".join(["cat"] * (n - 1))  # begin and end are tokens too
    arguments = (command[0], folder, picture, *command[1:], fits, longer)
    assert run(*arguments, "--out", tmp_path / "out") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "tokens" in line]
    assert line.startswith("'cat cat")
    assert f"longer than the {n} tokens" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{picture}",), "no texts"),
        (("{picture}", "a dog", " "), "text 2 of 2 is blank"),
        (("missing.jpg", "a dog"), "missing.jpg: there is no such picture"),
        (("{picture}", "a dog", "--heads", "9"), "there is no head 9"),
        (("{picture}", "a dog", "--heads", "1.7"), "layers 0 to 2 of heads 0 to 3"),
        (("{picture}", "a dog", "--heads", "last"), "got 'last'"),
        (("{broken}", "a dog"), "broken.png"),
    ],
)
def test_bad_input_is_one_line(folder, picture, tmp_path, capsys, arguments, said):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    filled = [part.format(picture=picture, broken=tmp_path / "broken.png") for part in arguments]
    assert run("heatmap", folder, *filled, "--out", tmp_path / "out") == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "out").exists()


def test_heads_by_name():
    expected = np.zeros((3, 4), bool)
    expected[0] = expected[2, 1] = True
    np.testing.assert_array_equal(chosen_heads(["2.1", "0"], 3, 4), expected)
    with pytest.raises(ValueError, match="name at least one head"):
        chosen_heads([], 3, 4)
