"""The table of segmenters: text maps score what `jaxclip segment` scores, and every method sees the same pictures."""

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import jaxclip
from jaxclip.analyses.segmentation.baselines import raw_attention
from jaxclip.analyses.segmentation.metrics import Segmented
from jaxclip.analyses.segmentation.named_classes import Named
from jaxclip.analyses.segmentation.segment_data import SegmentOptions, segment_data
from jaxclip.data.masks.open_masked import open_masked
from jaxclip.data.scenes import CHECKPOINT
from jaxclip.zeroshot import class_embeddings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
import compare_segmenters

N = 5


class Kept(list):
    """Pictures in memory."""

    kind, class_names = "kept", None


def test_the_table_holds_every_baseline():
    expected = {"raw attention", "rollout", "Grad-CAM", "generic attention explainability", "transformer attribution",
                "LRP", "partial LRP", "MaskCLIP"}  # fmt: skip
    assert set(compare_segmenters.METHODS) == expected


def test_text_maps_in_the_table_are_what_the_command_measures(monkeypatch):
    monkeypatch.setattr(compare_segmenters, "METHODS", {"raw attention": raw_attention})
    clip, source = jaxclip.load(CHECKPOINT), open_masked("scenes")
    classes = class_embeddings(clip, Named.read(source, (), ()).prompts)
    totals = compare_segmenters.compare(clip, source, classes, N, batch=4)
    kept = Kept(islice(compare_segmenters.of_one_class(source), N))
    found = sum(
        (one.scored for one in segment_data(clip, kept, classes, SegmentOptions(batch=4))),
        start=Segmented(np.zeros((2, 2), np.int64), 0.0, 0),
    )
    np.testing.assert_array_equal(totals["text maps"].confusion, found.confusion)
    assert totals["text maps"].mean_ap == pytest.approx(found.mean_ap, abs=1e-6)
    # The same pixels of the same classes, whatever they were taken for.
    counts = [total.confusion.sum(1).tolist() for total in totals.values()]
    assert counts[0] == counts[1]
    assert {total.n_images for total in totals.values()} == {N}
    # A scene of two kinds of things is right about neither.
    assert all(len(set(np.unique(one.mask)) - {0}) == 1 for one in kept)


def test_a_picture_without_a_mask_is_refused():
    [one] = islice(compare_segmenters.of_one_class(open_masked("scenes")), 1)
    with pytest.raises(ValueError, match=r"has no mask; comparing needs one"):
        list(compare_segmenters.of_one_class(Kept([one._replace(mask=None)])))
