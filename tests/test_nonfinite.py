"""Where NaN enters is where it is said to be."""

import numpy as np
import pytest
import towers

from jaxclip.nonfinite import explain_nonfinite, first_nonfinite, nonfinite_weights


def spoilt(path, place, value=np.nan, **options):
    """A tower with one number of a weight replaced."""
    vision = towers.vision(**options)
    parent = vision
    *parents, name = path.split(".")
    for part in parents:
        parent = getattr(parent, part)
    weight = getattr(parent, name)
    weight[...] = weight[...].at[place].set(value)
    return vision


CASES = {
    "positional_embedding": ((0, 0), "before layer 0"),
    "blocks.attn_out.kernel": ((1, 2, 0, 0), "the MLP of layer 1"),
    "blocks.attn_in.bias": ((1, 2, 3, 0), "attention of layer 1, head 3"),
    "blocks.mlp_out.bias": ((2, 5), "the MLP of layer 2"),
    "projection": ((3, 3), "final LayerNorm and projection"),
}


@pytest.mark.parametrize("path", CASES)
def test_the_first_place_is_named(path):
    place, expected = CASES[path]
    vision = spoilt(path, place)
    images = towers.images(vision.config, 2)
    assert all(expected in found for found in first_nonfinite(vision, images))
    assert nonfinite_weights(vision) == [path]
    said = explain_nonfinite(vision, images, ["a.png", "b.png"])
    assert said.startswith("a.png: ")
    assert expected in said
    assert f"the weights {path} hold NaN" in said


def test_one_bad_image_among_good_ones():
    vision = towers.vision()
    images = towers.images(vision.config, 3)
    assert first_nonfinite(vision, images) == [None] * 3
    images[1, 40, 7, 0] = np.inf
    found = first_nonfinite(vision, images)
    assert [place is None for place in found] == [True, False, True]
    said = explain_nonfinite(vision, images, ["a", "b", "c"])
    assert said.startswith("b: the model gives NaN or infinity, first in the image itself, after preprocessing;")


def test_an_embedding_without_a_norm_is_said_to_be_one():
    vision = towers.vision()
    vision.projection[...] = 0 * vision.projection[...]
    assert "norm of the embedding is zero" in explain_nonfinite(vision, towers.images(vision.config, 1), ["a"])
