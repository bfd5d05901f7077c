"""Batches of a source: every image keeps its label and its reason, whichever thread reads it."""

import numpy as np
import pytest
from test_sources import PREPROCESS, Pixels, paint

from jaxclip.data.open_data import open_data
from jaxclip.data.source import Example
from jaxclip.runs.loader import batches
from jaxclip.runs.order import Order


@pytest.fixture
def source(tmp_path):
    """Image i is grey of value i and has label i; the third cannot be read, the fifth is missing."""
    values = [5, 3, 8, 0, 6, 2, 7]
    for value in values:
        if value != 6:
            paint(tmp_path / f"{value}.png", value)
    (tmp_path / "8.png").write_bytes(b"not a picture")
    lines = ["path,label", *(f"{value}.png,{value}" for value in values)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    return open_data(tmp_path / "list.csv")


@pytest.mark.parametrize("threads", [1, 5])
def test_every_image_keeps_its_label_whoever_reads_it(source, threads):
    order = Order.of(7, 3, 1, 3)
    found = list(batches(source, PREPROCESS, order, n_threads=threads))
    assert len(found) == order.n_steps == 3
    assert all(batch.images.shape == (3, 8, 8, 3) for batch in found)
    weights = np.concatenate([batch.weights for batch in found])
    np.testing.assert_array_equal(weights, [1, 1, 0, 1, 0, 1, 1, 0, 0])
    labels = np.concatenate([batch.labels["label"] for batch in found])
    np.testing.assert_array_equal(labels, [5, 3, 8, 0, 6, 2, 7, -1, -1])
    greys = np.concatenate([batch.images[:, 0, 0, 0] for batch in found]) * 255
    np.testing.assert_allclose(greys[weights > 0], labels[weights > 0], atol=1e-5)
    names = [name.removesuffix(".png") for batch in found for name in batch.names]
    assert names == ["5", "3", "8", "0", "6", "2", "7", "", ""]


def test_what_cannot_be_read_is_named_with_its_reason(source):
    found = [error for batch in batches(source, PREPROCESS, Order.of(7, 4, 1, 2)) for error in batch.errors]
    assert [index for index, error in enumerate(found) if error] == [2, 4]
    assert "no image that Pillow can read" in found[2]
    assert "no such file" in found[4]


def test_a_later_start_gives_the_same_batches(source):
    order = Order.of(7, 2, 1, 4)
    whole, late = list(batches(source, PREPROCESS, order)), list(batches(source, PREPROCESS, order, start=2))
    for one, other in zip(whole[2:], late, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        assert one.names == other.names
    assert list(batches(source, PREPROCESS, order, start=4)) == []


def test_a_label_without_a_name_is_refused():
    source = Pixels(np.zeros((4, 4, 3), np.uint8))
    source.label_names = {"label": ("only",)}
    source.__class__ = type("Wrong", (Pixels,), {"__getitem__": lambda s, i: Example("x", s.pixels, {"label": 1})})
    with pytest.raises(ValueError, match="label is 1, but there are 1"):
        next(batches(source, PREPROCESS, Order.of(1, 1)))
