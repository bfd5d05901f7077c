"""A window sliding over a larger image; masks as files."""

import numpy as np
import pytest
import towers
from PIL import Image

from jaxclip.analyses.segmentation.masks import label_pixels, to_pixels
from jaxclip.analyses.segmentation.windows import corners, label_windows, window_maps
from jaxclip.data.masks.mask_files import read_mask, save_mask
from jaxclip.model.token_grid import TokenGrid


def made(seed=0):
    vision = towers.vision()
    rng = np.random.default_rng(seed)
    texts = rng.standard_normal((3, vision.config.embed_dim)).astype(np.float32)
    return vision, rng.standard_normal((70, 61, 3)).astype(np.float32), texts


@pytest.mark.parametrize(("size", "window", "stride"), [(48, 48, 24), (49, 48, 24), (100, 32, 32), (77, 20, 7)])
def test_every_pixel_is_seen(size, window, stride):
    seen = np.zeros(size, int)
    for begin in corners(size, window, stride):
        assert 0 <= begin <= size - window
        seen[begin : begin + window] += 1
    assert seen.min() >= 1


def test_windows_that_fit_exactly_are_not_doubled():
    assert corners(96, 48, 24) == [0, 24, 48]
    assert corners(97, 48, 24) == [0, 24, 48, 49]
    assert corners(96, 48, 48) == [0, 48]
    assert corners(48, 48, 24) == [0]


def test_one_window_is_the_image_itself():
    vision, image, texts = made()
    image = image[:48, :32]
    maps = TokenGrid.of(vision.config).to_grid(vision.map(image[None], texts).swapaxes(1, 2))
    np.testing.assert_allclose(
        window_maps(vision, image, texts), to_pixels(maps, (48, 32), (16, 8))[0], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(
        label_windows(vision, image, texts[:2], background=texts[2:]).labels,
        label_pixels(vision, image[None], texts[:2], background=texts[2:]).labels,
    )


def test_overlapping_windows_are_averaged_whatever_the_batch():
    vision, image, texts = made()
    expected, count = np.zeros((3, 70, 61)), np.zeros((70, 61))
    for top in (0, 20, 22):
        for left in (0, 20, 29):
            crop = image[top : top + 48, left : left + 32]
            expected[:, top : top + 48, left : left + 32] += window_maps(vision, crop, texts)
            count[top : top + 48, left : left + 32] += 1
    for batch in (2, 9, 30):
        ours = window_maps(vision, image, texts, stride=20, batch=batch)
        np.testing.assert_allclose(ours, expected / count, atol=1e-5 * np.abs(expected).max())


def test_windows_show_the_heads_that_count():
    vision, image, texts = made()
    heads = np.zeros((vision.config.n_layers, vision.config.n_heads), np.float32)
    heads[1, 2] = 1
    maps = TokenGrid.of(vision.config).to_grid(vision.map(image[None, :48, :32], texts, heads=heads).swapaxes(1, 2))
    found = window_maps(vision, image[:48, :32], texts, heads=heads)
    np.testing.assert_allclose(found, to_pixels(maps, (48, 32), (16, 8))[0], atol=1e-5 * np.abs(maps).max())


def test_windows_that_do_not_fit(unchecked):
    vision, image, texts = made()
    with pytest.raises(ValueError, match=r"at least as large as the tower's window, 48 pixels; got 40"):
        window_maps(vision, image[:40], texts)
    with pytest.raises(ValueError, match=r"stride must be 1 to 32, the window's own size; got 33"):
        window_maps(vision, image, texts, stride=33)
    with pytest.raises(ValueError, match=r"one image, \[height, width, 3\]; got \[1, 70, 61, 3\]"):
        window_maps(vision, image[None], texts)
    with pytest.raises(ValueError, match=r"compared with other texts; got 1"):
        label_windows(vision, image, texts[:1])


def test_masks_come_back_as_they_were(tmp_path):
    labels = np.random.default_rng(0).integers(0, 256, (9, 7))
    path = save_mask(labels, tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(path), labels)
    with Image.open(path) as image:
        assert image.mode == "P"
        colours = np.asarray(image.convert("RGB"))
    # Pascal VOC's first classes: black, dark red, dark green, dark yellow.
    for label, colour in enumerate([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]):
        assert all(tuple(found) == colour for found in colours[labels == label])


def test_what_is_no_mask(tmp_path):
    with pytest.raises(ValueError, match=r"labels 0 to 255; got \[2, 2\]"):
        save_mask(np.full((2, 2), 256), tmp_path / "mask.png")
    Image.new("RGB", (3, 3), (9, 200, 30)).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match=r"photo.png must hold labels.*its pixels are RGB"):
        read_mask(tmp_path / "photo.png")
