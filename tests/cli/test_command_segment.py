"""`jaxclip segment`: masks on disk are the library's, metrics are those of the masks as the model sees them."""

import json
import shutil

import numpy as np
import pytest
import small
from PIL import Image
from test_cli import run

import jaxclip
from jaxclip.analyses.segmentation.masks import heatmaps, segment
from jaxclip.analyses.segmentation.metrics import score_batch
from jaxclip.analyses.segmentation.named_classes import Named
from jaxclip.analyses.segmentation.segment_data import SegmentOptions, segment_data
from jaxclip.analyses.segmentation.windows import label_windows
from jaxclip.data.masks.mask_files import read_mask, save_mask
from jaxclip.data.masks.open_masked import open_masked
from jaxclip.preprocess import normalize
from jaxclip.report.masks import COLOURS, Shown, class_colours, masks_figure, painted
from jaxclip.zeroshot import class_embeddings

CLASSES = ["cat", "dog", "potted_plant"]
WINDOWS = ("{data}", "--classes", "cat", "dog", "--way", "classes", "--window")
SIZES = [(64, 128), (96, 64), (48, 32)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small.export(tmp_path_factory.mktemp("openclip") / "small")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (root / part).mkdir()
    for i, size in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(root / "images" / f"p{i}.png")
        mask = rng.integers(0, 4, size)
        mask[:5] = 255
        save_mask(mask, root / "masks" / f"p{i}.png")
    return root


def embeddings(clip):
    return class_embeddings(clip, [[f"a photo of a {name.replace('_', ' ')}."] for name in CLASSES])


def nearest(labels, size):
    """Another size, nearest neighbour, by whole numbers: Pillow rounds where a centre falls on an edge."""
    rows, columns = ((2 * np.arange(n) + 1) * old // (2 * n) for n, old in zip(size, labels.shape, strict=True))
    return labels[np.ix_(rows, columns)]


def test_the_papers_way(folder, data, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("segment", folder, data, "--classes", *CLASSES, "--frame", "squash", "--batch", 3, "--out", out)
    assert run(*arguments, "--json") == 0
    captured = capsys.readouterr()
    assert "mean IoU" in captured.err
    assert f"pictures.png and 3 masks in {out / 'masks'}\n" in captured.err
    found = json.loads((out / "results.json").read_text())
    assert json.loads(captured.out) == found
    clip = jaxclip.load(folder)
    pictures = [Image.open(data / "images" / f"p{i}.png") for i in range(3)]
    inputs = clip.preprocess([picture.resize((32, 48), Image.Resampling.BICUBIC) for picture in pictures])
    expected = segment(clip.vision, inputs, embeddings(clip))
    masks = np.stack([nearest(read_mask(data / "masks" / f"p{i}.png"), (48, 32)) for i in range(3)])
    right = score_batch(expected.labels, expected.scores, np.where(masks == 255, 255, masks > 0), ignore=255)
    assert found["metrics"]["confusion"] == right.confusion.tolist()
    assert found["metrics"]["mean_ap"] == pytest.approx(right.mean_ap, abs=1e-6)
    assert list(found["class_iou"]) == ["background", "foreground"]
    with Image.open(out / found["files"][0]) as drawn:
        assert drawn.width > 1000
    taken = np.asarray(heatmaps(clip.vision, inputs, embeddings(clip))[1])
    assert [image["class"] for image in found["images"]] == [CLASSES[i] for i in taken]
    for i, image in enumerate(found["images"]):
        written = read_mask(out / image["mask"])
        assert written.shape == SIZES[i]
        assert image["shares"].get(image["class"], 0) == pytest.approx((written == 1).mean())
    # A picture of the model's own size is written as it was decided, and one window over it decides the same.
    np.testing.assert_array_equal(read_mask(out / "masks" / "p2.png"), expected.labels[2])
    alone = ("segment", folder, data / "images" / "p2.png", "--classes", *CLASSES, "--window", 32)
    assert run(*alone, "--out", tmp_path / "window") == 0
    differ = read_mask(tmp_path / "window" / "masks" / "p2.png") != np.asarray(expected.labels[2])
    assert differ.mean() < 0.005  # a pixel at the threshold may fall to either side
    assert json.loads((tmp_path / "window" / "results.json").read_text())["metrics"] is None
    assert "the data has no masks" in capsys.readouterr().err


def test_several_classes_by_windows_and_the_datas_classes_in_another_order(folder, data, tmp_path):
    out = tmp_path / "out"
    arguments = ("segment", folder, data, "--way", "classes", "--classes", *CLASSES, "--background", "sky")
    assert run(*arguments, "--window", "48", "--limit", 1, "--out", out) == 0
    found = json.loads((out / "results.json").read_text())
    clip = jaxclip.load(folder)
    sky = class_embeddings(clip, [["sky"]])
    picture = Image.open(data / "images" / "p0.png").resize((96, 48), Image.Resampling.BICUBIC)
    pixels = normalize(np.asarray(picture), clip.config.preprocess)
    labels = np.asarray(label_windows(clip.vision, pixels, embeddings(clip), background=sky).labels[0])
    np.testing.assert_array_equal(read_mask(out / "masks" / "p0.png"), nearest(labels, (64, 128)))
    assert list(found["class_iou"]) == ["background", *CLASSES]
    assert found["n_images"] == found["metrics"]["n_images"] == 1
    options, order = SegmentOptions(way="classes", window=48), [0, 3, 1, 2]
    turned = next(segment_data(clip, open_masked(data), embeddings(clip), options, background=sky, order=order))
    np.testing.assert_array_equal(turned.scored.confusion[order], found["metrics"]["confusion"])


def test_the_datas_classes_are_found_by_name():
    source = open_masked("scenes")
    names = source.class_names[::-1]
    order = Named.read(source, names, ()).order(source)
    assert [None, *names][order[1] : order[1] + 1] == [source.class_names[0]]
    assert order == [0, *range(len(names), 0, -1)]
    assert Named.read(source, (), ()).order(source) == list(range(len(names) + 1))


def test_what_the_model_does_not_see_is_unlabelled_and_does_not_count(folder, data, tmp_path):
    out = tmp_path / "out"
    arguments = ("segment", folder, data / "images" / "p0.png", "--masks", data / "masks", "--classes", *CLASSES)
    assert run(*arguments, "--batch", 3, "--out", out) == 0
    written = read_mask(out / "masks" / "p0.png")
    assert written.shape == (64, 128)
    seen = np.abs(np.arange(128) + 0.5 - 64) < 128 / 6  # a third of the width
    np.testing.assert_array_equal(written != 255, np.broadcast_to(seen, (64, 128)))
    found = json.loads((out / "results.json").read_text())
    assert np.sum(found["metrics"]["confusion"]) == 48 * 32 - 32 * 4  # the mask's first rows say nothing


def test_a_class_has_one_colour_wherever_it_is():
    picture = np.full((2, 3, 3), 255, np.uint8)
    found, truth = np.array([[0, 3, 3], [0, 255, 255]]), np.array([[7, 7, 0], [0, 0, 0]])
    shown = Shown("costs $5", "found: c", picture, found, truth)
    colours = class_colours([shown])
    assert colours == {3: COLOURS[0], 7: COLOURS[1]}
    drawn = painted(picture, found, colours)
    np.testing.assert_allclose(drawn[:, 0], 1)
    np.testing.assert_allclose(drawn[1, 1:], 0.4)
    np.testing.assert_allclose(drawn[0, 1], 0.4 + 0.6 * np.array([0xCC, 0x66, 0x77]) / 255, rtol=1e-5)
    figure = masks_figure([shown, shown._replace(truth=None)], [*"abcdefg"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["c", "g"]
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 1, 1, 1, 0]


def test_masks_are_read_by_what_is_said_of_them(folder, tmp_path, capsys):
    """The same objects as labels, as greys and as a trimap count the same; objects that nobody labelled are missed."""
    objects = np.zeros((48, 32), np.uint8)
    objects[10:30, 5:25] = 1
    kinds = {
        "labels": (objects, ()),
        "bytes": (255 * objects, ()),
        "greys": (np.where(objects, 200, 9).astype(np.uint8), ("--mask-threshold", 128)),
        "trimap": (2 - objects, ("--mask-background", 2, "--mask-ignore", 3)),
        "nothing": (0 * objects, ()),
    }
    counted = {}
    for kind, (values, options) in kinds.items():
        for part in ("images", "masks"):
            (tmp_path / kind / part).mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 255, (48, 32, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / kind / "images" / "a.png")
        Image.fromarray(values).save(tmp_path / kind / "masks" / "a.png")
        out = tmp_path / kind / "out"
        arguments = ("segment", folder, tmp_path / kind, "--classes", "cat", "dog", *options, "--batch", 1)
        assert run(*arguments, "--out", out) == 0
        found, said = json.loads((out / "results.json").read_text()), capsys.readouterr().err
        assert found["masks"] in said
        assert bool(found["notes"]) == (kind == "nothing") == ("no mask has a pixel of the foreground" in said)
        counted[kind] = found["metrics"]["confusion"]
    assert sum(counted["labels"][1]) == objects.sum()
    assert counted["labels"] == counted["bytes"] == counted["greys"] == counted["trimap"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{data}",), "no classes: the data does not name any"),
        (("{data}", "--classes", "cat"), "compared with other texts; got 'cat' alone"),
        (("{data}", "--classes", "cat", "cat"), "'cat' 2 times"),
        (("{data}", "--classes", "cat", "dog", "--background", "sky"), "background texts are for --way classes"),
        (("{data}", "--classes", "cat", "dog", "--stride", "4"), "pass --window as well"),
        (("{data}", "--classes", "cat", "dog", "--batch", "0"), "batch must be at least 1"),
        (("{data}", "--classes", "cat", "dog", "--limit", "0"), "limit must be at least 1"),
        (("scenes", "--way", "classes", "--classes", "cat", "dog"), "metrics over classes need the data's own"),
        (("{data}", "--classes", "cat", "dog", "--masks", "nowhere"), "no such folder of masks"),
        ((*WINDOWS, "48", "--background", "sky", "sea"), "the masks must hold labels 0 to 2; got 0, 1, 2, 3, 255"),
        (("{data}", "--classes", *CLASSES, "x", "--way", "classes"), "4 classes are named; pass --mask-first 1 if"),
        (("{data}", "--classes", "cat", "dog", "--mask-colours", "nowhere"), "nowhere"),
        (("{data}", "--classes", "cat", "dog", "--mask-first", "0"), "which is the background; pass it as --mask-back"),
        ((*WINDOWS, "16"), "window must be at least the 32 pixels that small takes; got 16"),
        (("{wrong}", "--classes", "cat", "dog"), "the mask of p1.png must be 96 x 64 pixels"),
    ],
)
def test_bad_input_is_one_line(folder, data, tmp_path, capsys, arguments, said):
    wrong = shutil.copytree(data, tmp_path / "wrong")
    save_mask(np.zeros((4, 4), int), wrong / "masks" / "p1.png")
    filled = [part.format(data=data, wrong=wrong) for part in arguments]
    assert run("segment", folder, *filled, "--out", tmp_path / "out") == 1
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith("jaxclip:")]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "out" / "results.json").exists()
