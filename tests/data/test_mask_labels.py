"""Masks as people have them: each is read rightly, or refused with what to pass; the right masks are known."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from test_segmentation_data import PIXELS

from jaxclip.analyses.segmentation.metrics import Segmented, remarks
from jaxclip.data.masks.labels import MaskLabels, Masks
from jaxclip.data.masks.mask_files import Raw, palette, read_colours, save_mask
from jaxclip.data.masks.open_masked import open_masked

SHAPES = [pixels.shape[:2] for pixels in PIXELS]
OBJECTS = [np.zeros(shape, np.int32) for shape in SHAPES]
for mask in OBJECTS:
    mask[3:-5, 2:-4] = 1
LABELS = [np.random.default_rng(i).integers(0, 4, shape).astype(np.int32) for i, shape in enumerate(SHAPES)]
BORDER = [mask.copy() for mask in OBJECTS]
for mask in BORDER:
    mask[2], mask[-5] = 2, 2


def grey(values, dtype=np.uint8):
    return Image.fromarray(values.astype(dtype))


def coloured(labels, colours):
    return Image.fromarray(np.array(colours, np.uint8)[labels])


def white_first(mask):
    """A palette whose first entry is white: the object's number is the smaller one."""
    image = grey(1 - mask)
    image.putpalette([255, 255, 255, 0, 0, 0])
    return image


def see_through(mask):
    image = grey(mask * 255).convert("RGB")
    image.putalpha(Image.new("L", image.size, 255))
    return image


def folder(tmp_path, masks, make, suffix="png", ending="", **options):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i, (pixels, mask) in enumerate(zip(PIXELS, masks, strict=True)):
        Image.fromarray(pixels).save(tmp_path / "images" / f"p{i}.png")
        make(mask).save(tmp_path / "masks" / f"p{i}{ending}.{suffix}", **options)
    return tmp_path


def given(source):
    return [source[i].mask for i in range(len(source))]


BINARY = {
    "0 and 1": lambda mask: grey(mask),
    "one bit": lambda mask: Image.fromarray(mask > 0),
    "0 and 255": lambda mask: grey(mask * 255),
    "palette of greys": lambda mask: grey(mask * 255).convert("P"),
    "palette of two": lambda mask: Image.fromarray(mask > 0).convert("P"),
    "quantized": lambda mask: grey(mask * 255).convert("RGB").quantize(2),
    "white first": white_first,
    "red, green and blue": lambda mask: grey(mask * 255).convert("RGB"),
    "opaque": see_through,
    "grey, opaque": lambda mask: see_through(mask).convert("LA"),
    "16 bits": lambda mask: grey(mask * 65535, np.uint16),
    "16 bits, 0 and 1": lambda mask: grey(mask, np.uint16),
    "0 and 128": lambda mask: grey(mask * 128),
}


@pytest.mark.parametrize("make", BINARY.values(), ids=BINARY)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_objects_are_objects_however_they_are_stored(tmp_path, make, suffix):
    source = open_masked(folder(tmp_path, OBJECTS, make, suffix))
    source.masks.check("foreground", 2)
    for mask, found in zip(OBJECTS, given(source), strict=True):
        np.testing.assert_array_equal(found > 0, mask > 0)
        assert 255 not in found


def test_255_alone_beside_0_is_said(tmp_path):
    source = open_masked(folder(tmp_path, OBJECTS, BINARY["0 and 255"]))
    assert "0 is read as the background, 255 as the object" in source.masks.meaning.sentence


def test_255_beside_labels_does_not_count_even_in_a_mask_that_has_no_other(tmp_path):
    """What a number means is a matter of the data set, not of one file."""
    masks = [np.minimum(mask, 2) for mask in LABELS]
    masks[1] = np.where(OBJECTS[1], 0, 255)
    source = open_masked(folder(tmp_path, masks, grey))
    assert "255 does not count" in source.masks.meaning.sentence
    for mask, found in zip(masks, given(source), strict=True):
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize(
    ("masks", "said", "sentence"),
    [
        ([0, 1, 2], {}, "masks hold 0, 1, 2: 0 is the background, every other label an object; 1 is star, 2 is circle"),
        ([0, 1, 2], {"ignore": (2,)}, "masks hold 0, 1, 2: 0 is the background, every other label an object, and 2 "
         "does not count; 1 is star"),
        ([0, 1, 255], {"first": 0}, "masks hold 0, 1, 255: there is no background, 0 the first class, and 255 does not "
         "count; 0 is star, 1 is circle"),
        ([0, 255], {}, "masks hold 0 and 255 alone: 0 is read as the background, 255 as the object; 255 is star"),
        ([0, 200], {"threshold": 128}, "masks: from 128 on a pixel is the object"),
    ],
)  # fmt: skip
def test_a_sentence_says_which_number_is_which_class(masks, said, sentence):
    files = [Raw(np.array([masks]), False)]
    read = Masks(lambda: iter(files), MaskLabels(**said), known=False)
    assert read.sentence(("star", "circle")) == sentence
    assert read.sentence() == sentence.partition(";")[0]


def blurred(mask):
    return grey(mask * 255).filter(ImageFilter.GaussianBlur(1))


def smooth(mask):
    """The mean of four pixels, as a picture drawn at twice the size."""
    return grey(np.where(mask, 255, 0) - np.where(mask & ~np.roll(mask, 1, 0), 127, 0))


SMOOTH = {"blurred": (blurred, "png"), "one grey": (smooth, "png"), "JPEG": (BINARY["0 and 255"], "jpg")}


@pytest.mark.parametrize(("make", "suffix"), SMOOTH.values(), ids=SMOOTH)
def test_greys_are_refused_and_read_by_a_threshold(tmp_path, make, suffix):
    root = folder(tmp_path, OBJECTS, make, suffix)
    with pytest.raises(ValueError, match=r"masks hold .*greys.* mask_threshold=128 .* mask_ignore=255"):
        open_masked(root)[0]
    source = open_masked(root, labels=MaskLabels(threshold=128))
    for mask, found in zip(OBJECTS, given(source), strict=True):
        assert set(np.unique(found)) == {0, 1}
        assert (found != mask).mean() < 0.12  # the smoothed edge of a small picture
    if make is BINARY["0 and 255"]:
        np.testing.assert_array_equal(found, mask)


def test_mattings_trimaps_are_not_labels(tmp_path):
    root = folder(tmp_path, BORDER, lambda mask: grey(np.array([0, 255, 128])[mask]))
    with pytest.raises(ValueError, match="masks hold 0, 128, 255: greys"):
        open_masked(root)[0]
    source = open_masked(root, labels=MaskLabels(threshold=200, ignore=(128,)))
    for mask, found in zip(BORDER, given(source), strict=True):
        np.testing.assert_array_equal(found, np.array([0, 1, 255])[mask])


def test_oxfords_trimaps_are_asked_about_and_read(tmp_path):
    root = folder(tmp_path, BORDER, lambda mask: grey(np.array([2, 1, 3])[mask]))
    with pytest.raises(ValueError, match=r"masks hold 1, 2, 3, and nothing says which is the background"):
        open_masked(root).masks.check("foreground", 2)
    source = open_masked(root, labels=MaskLabels(background=2, ignore=(3,)))
    source.masks.check("foreground", 2)
    for mask, found in zip(BORDER, given(source), strict=True):
        np.testing.assert_array_equal(found, np.array([0, 1, 255])[mask])


def test_labels_counted_from_0_are_asked_about_and_read(tmp_path):
    root = folder(tmp_path, LABELS, grey)
    with pytest.raises(ValueError, match=r"masks hold 0, 1, 2, 3 and 4 classes are named; pass mask_first=1 .*first=0"):
        open_masked(root).masks.check("classes", 4)
    open_masked(root).masks.check("classes", 3)
    with pytest.raises(ValueError, match=r"the masks must hold labels 0 to 2; got 0, 1, 2, 3"):
        open_masked(root).masks.check("classes", 2)
    for first, wanted in ((0, 1), (1, 0)):
        source = open_masked(root, labels=MaskLabels(first=first))
        source.masks.check("classes", 4)
        for mask, found in zip(LABELS, given(source), strict=True):
            np.testing.assert_array_equal(found, mask + wanted)
    with pytest.raises(ValueError, match="nothing says which is the background"):
        open_masked(root, labels=MaskLabels(first=0)).masks.check("foreground", 4)
    last = open_masked(root, labels=MaskLabels(first=0, background=3))
    last.masks.check("classes", 3)
    np.testing.assert_array_equal(last[0].mask, np.array([1, 2, 3, 0])[LABELS[0]])
    with pytest.raises(ValueError, match="masks hold 0, which is below the first class's label, 1"):
        open_masked(root, labels=MaskLabels(background=3))[0]


COLOURS = [(0, 0, 0), (200, 30, 30), (30, 200, 30), (30, 30, 200)]


def test_colours_are_refused_and_read_by_their_names(tmp_path):
    root = folder(tmp_path, LABELS, lambda mask: coloured(mask, COLOURS))
    with pytest.raises(ValueError, match=r"p0.png must hold labels .*; its pixels are RGB.* mask_colours="):
        open_masked(root)[0]
    (tmp_path / "colours.txt").write_text("0 0 0 background\n200,30,30\tcat\n30 200 30 dog\n\n30 30 200\n")
    colours = read_colours(tmp_path / "colours.txt")
    for mask, found in zip(LABELS, given(open_masked(root, labels=MaskLabels(colours=colours))), strict=True):
        np.testing.assert_array_equal(found, mask)
    with pytest.raises(ValueError, match=r"has the colour \(30, 30, 200\), which is none of"):
        open_masked(root, labels=MaskLabels(colours=colours[:3]))[0]
    for wrong in ("0 0\n", "0 0 256\n", "1 2 3\n1 2 3\n", "\n", "red\n"):
        (tmp_path / "colours.txt").write_text(wrong)
        with pytest.raises(ValueError, match=r"colours\.txt"):
            read_colours(tmp_path / "colours.txt")


def test_vocs_masks_saved_as_colours(tmp_path):
    own = np.array(palette(), np.uint8).reshape(-1, 3)
    masks = [np.where(mask == 3, 255, mask) for mask in LABELS]
    root = folder(tmp_path, masks, lambda mask: Image.fromarray(own[mask]))
    for mask, found in zip(
        masks, given(open_masked(root, labels=MaskLabels(colours=read_colours("voc")))), strict=True
    ):
        np.testing.assert_array_equal(found, mask)


def test_masks_may_have_an_ending_of_their_own(tmp_path):
    source = open_masked(folder(tmp_path, OBJECTS, grey, ending="_segmentation"))
    np.testing.assert_array_equal(source[2].mask, OBJECTS[2])
    save_mask(OBJECTS[0], tmp_path / "masks" / "p0_other.png")
    np.testing.assert_array_equal(open_masked(tmp_path)[0].mask, OBJECTS[0])
    for i in (1, 2):
        save_mask(OBJECTS[i], tmp_path / "masks" / f"p{i}_other.png")
    with pytest.raises(ValueError, match=r"p0\.png has no mask of its name"):
        open_masked(tmp_path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda mask: grey(mask * 0 + 255), "masks hold 255 alone"),
        (lambda mask: grey(mask, np.float32), "whole numbers from 0; its pixels are F"),
        (lambda mask: grey(-mask, np.int32), "whole numbers from 0; its pixels are I"),
    ],
)
def test_what_says_nothing_is_refused(tmp_path, make, said):
    with pytest.raises(ValueError, match=said):
        open_masked(folder(tmp_path, OBJECTS, make, "tif"))[0]


def test_masks_that_are_see_through_are_refused(tmp_path):
    def make(mask):
        image = Image.new("RGBA", mask.shape[::-1])
        image.putalpha(grey(mask * 255))
        return image

    with pytest.raises(ValueError, match="its pixels are RGBA"):
        open_masked(folder(tmp_path, OBJECTS, make))[0]


def test_options_that_contradict_each_other():
    with pytest.raises(ValueError, match="mask_threshold is for greys"):
        MaskLabels(threshold=3, first=0)
    with pytest.raises(ValueError, match="label 2 cannot be the background and not count"):
        MaskLabels(background=2, ignore=(1, 2))


def test_a_result_without_foreground_is_never_without_a_word():
    def counted(*rows):
        return Segmented(np.array(rows, np.int64), 0.0, 1)

    assert remarks(counted((5, 1), (2, 3))) == []
    assert "there is nothing to measure" in remarks(counted((0, 0), (0, 0)))[0]
    assert "no mask has a pixel of the foreground" in remarks(counted((5, 1), (0, 0)))[0]
    assert "nothing was found in any picture" in remarks(counted((5, 0), (2, 0)))[0]


def test_a_mask_may_be_as_large_as_its_picture(tmp_path, monkeypatch):
    """Masks are small files: by its own bytes alone, that of a large photograph would be a trap."""
    from jaxclip.files import images

    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "images" / "a.png")
    wanted = np.zeros((200, 300), np.uint8)
    wanted[50:100, 20:90] = 1
    grey(wanted * 255).save(tmp_path / "masks" / "a.png")
    for limit in (40_000, 10_000):  # Pillow warns, and refuses
        monkeypatch.setattr(images, "PILLOWS_LIMIT", limit)
        monkeypatch.setattr(images, "PIXELS_PER_BYTE", 10)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        np.testing.assert_array_equal(open_masked(tmp_path)[0].mask, wanted)
        grey(np.zeros((400, 600))).save(tmp_path / "masks" / "a.png")
        with pytest.raises(ValueError, match="more than Pillow's limit"):
            open_masked(tmp_path)[0]
        grey(wanted * 255).save(tmp_path / "masks" / "a.png")
