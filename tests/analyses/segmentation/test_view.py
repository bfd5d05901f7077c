"""Maps and masks between a picture and what a tower sees of it."""

import numpy as np
import pytest
from PIL import Image

from jaxclip.analyses.segmentation.masks import to_pixels
from jaxclip.analyses.segmentation.view import labels_to_picture, maps_to_picture, mask_in_view
from jaxclip.config import PreprocessConfig
from jaxclip.preprocess import crop_box, preprocess


def test_a_picture_of_the_towers_size_gets_the_towers_pixels():
    maps = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    ours = maps_to_picture(maps, (48, 32), (0.0, 0.0, 32.0, 48.0), (48, 32), (16, 8))
    np.testing.assert_allclose(ours, to_pixels(maps, (48, 32), (16, 8)), atol=1e-6)


def test_a_map_that_rises_with_the_place_rises_with_the_place():
    """Bilinear is exact for what is linear: the value of a pixel is where its centre lies, in the tower's pixels."""
    centres = (np.arange(4) + 0.5) * 8
    maps = np.broadcast_to(centres.astype(np.float32), (3, 4))
    box = (10.0, 5.0, 90.0, 65.0)
    ours = maps_to_picture(maps, (70, 100), box, (48, 32), (16, 8))
    x = (np.arange(100) + 0.5 - 10) / 80 * 32
    seen = (x > 0) & (x < 32)
    assert np.isnan(ours[:, ~seen]).all()
    assert np.isnan(ours[:5]).all()
    assert np.isnan(ours[65:]).all()
    expected = np.clip(x[seen], centres[0], centres[-1])
    np.testing.assert_allclose(ours[5:65][:, seen], np.broadcast_to(expected, (60, seen.sum())), rtol=1e-5)


def test_a_whole_mask_in_view_is_pillows_nearest_neighbour():
    mask = np.random.default_rng(0).integers(0, 200, (37, 53))
    expected = Image.fromarray(mask.astype(np.uint8)).resize((32, 48), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(mask_in_view(mask, (0.0, 0.0, 53.0, 37.0), (48, 32)), np.asarray(expected))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_a_mask_is_seen_as_its_picture_is(mode):
    """A mask whose edge is the picture's edge: what the preprocessing makes of the picture says where it must be."""
    config = PreprocessConfig(
        size=(64, 64), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="bilinear", resize_mode=mode, fill=128
    )  # fmt: skip
    mask = np.zeros((80, 120), np.int32)
    mask[24:48, 45:90] = 1
    seen = preprocess(Image.fromarray(np.repeat(mask[..., None] * 255, 3, -1).astype(np.uint8)), config)[0, :, :, 0]
    ours = mask_in_view(mask, crop_box((120, 80), config), config.size)
    sure = np.abs(seen - 0.5) > 0.45
    np.testing.assert_array_equal(ours[sure], seen[sure] > 0.5)
    padding = np.abs(seen - 128 / 255) < 1e-3
    assert (ours[padding] == 255).all() if mode == "longest" else not (ours == 255).any()
    back = labels_to_picture(ours, mask.shape, crop_box((120, 80), config))
    known = back != 255
    assert known.all() == (mode != "shortest")
    assert (back[known] != mask[known]).mean() < 0.03


def test_maps_of_another_grid_are_refused(unchecked):
    with pytest.raises(ValueError, match=r"has maps of \[3, 4\]; got \[4, 3\]"):
        maps_to_picture(np.zeros((4, 3)), (48, 32), (0.0, 0.0, 32.0, 48.0), (48, 32), (16, 8))
