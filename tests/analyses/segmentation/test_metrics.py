"""Segmentation metrics against their definitions, written out in NumPy float64."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxclip.analyses.segmentation.metrics import Segmented, average_precision, score_batch


def definition_of_ap(scores, right):
    """Every distinct score is a threshold: sum over them, from the highest, of the recall gained times precision."""
    total, recall = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        taken = scores >= threshold
        now = (right & taken).sum() / right.sum()
        total += (now - recall) * (right & taken).sum() / taken.sum()
        recall = now
    return total


def definition(predicted, scores, labels, ignore):
    """Pixel accuracy, IoU by class with 0 for none, and the mean of the images' AP."""
    n_classes = scores.shape[1]
    counted = labels != ignore
    correct = ((predicted == labels) & counted).sum() / counted.sum()
    iou = []
    for c in range(n_classes):
        one, other = (predicted == c) & counted, (labels == c) & counted
        iou.append((one & other).sum() / max((one | other).sum(), 1))
    precisions = []
    for image_scores, image_labels, where in zip(scores, labels, counted, strict=True):
        right = image_labels[None] == np.arange(n_classes)[:, None, None]
        where = np.broadcast_to(where, right.shape)
        precisions.append(definition_of_ap(image_scores.astype(np.float64)[where], right[where]) if where.any() else 0)
    return correct, np.array(iou), np.mean(precisions)


def draw(seed, batch=3, n_classes=3, size=(7, 5), levels=6, ignore=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, (batch, *size))
    if ignore is not None:
        labels[rng.random(labels.shape) < 0.3] = ignore
    # Few levels: ties are what average precision is easily wrong about.
    scores = rng.integers(0, levels, (batch, n_classes, *size)).astype(np.float32) / levels
    return scores.argmax(1), scores, labels


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 999), n_classes=st.integers(2, 4), levels=st.sampled_from([1, 3, 10**6]),
    ignore=st.sampled_from([-1, 255]),
)  # fmt: skip
def test_metrics_are_their_definitions(seed, n_classes, levels, ignore):
    predicted, scores, labels = draw(seed, n_classes=n_classes, levels=levels, ignore=ignore)
    ours = score_batch(predicted, scores, labels, ignore=ignore)
    correct, iou, precision = definition(predicted, scores, labels, ignore)
    assert ours.pixel_accuracy == pytest.approx(correct, abs=1e-12)
    np.testing.assert_allclose(np.nan_to_num(ours.class_iou), iou, atol=1e-12)
    assert ours.mean_iou() == pytest.approx(iou.mean(), abs=1e-12)
    assert ours.mean_ap == pytest.approx(precision, abs=1e-6)


def test_many_pixels_lose_no_digits():
    rng = np.random.default_rng(0)
    labels = (rng.random((224, 224)) < 0.4).astype(np.int32)
    heat = (rng.random((224, 224)) * 0.7 + 0.3 * labels).astype(np.float32)
    scores = np.stack([1 - heat, heat])
    # By sorting, for the loop over thresholds takes minutes here: the same sum where no two scores are equal.
    order = np.argsort(-scores.ravel(), kind="stable")
    found = np.cumsum(np.stack([labels == 0, labels == 1]).ravel()[order])
    last = np.append(np.diff(scores.ravel()[order]) != 0, True)
    found, seen = found[last], np.arange(1, len(last) + 1)[last]
    expected = (np.diff(found, prepend=0) * found / seen).sum() / found[-1]
    ours = score_batch((heat > 0.5).astype(np.int32)[None], scores[None], labels[None])
    assert ours.mean_ap == pytest.approx(expected, abs=3e-7)


def test_batches_add_up_in_any_order():
    predicted, scores, labels = draw(0, batch=7, ignore=-1)
    whole = score_batch(predicted, scores, labels)
    one, two = (score_batch(predicted[part], scores[part], labels[part]) for part in (slice(0, 3), slice(3, 7)))
    for both in (one + two, two + one):
        np.testing.assert_array_equal(both.confusion, whole.confusion)
        assert both.mean_ap == pytest.approx(whole.mean_ap, abs=1e-7)
        assert both.n_images == 7
    assert whole.confusion.dtype == np.int64
    assert json.loads(json.dumps(whole.to_dict()))["pixel_accuracy"] == whole.pixel_accuracy


def test_perfect_and_hopeless():
    labels = np.array([[[0, 1], [1, 2]]])
    scores = (labels[:, None] == np.arange(3)[:, None, None]).astype(np.float32)
    perfect = score_batch(labels, scores, labels)
    assert (perfect.pixel_accuracy, perfect.mean_iou(), perfect.mean_ap) == (1, 1, 1)
    hopeless = score_batch((labels + 1) % 3, 1 - scores, labels)
    assert (hopeless.pixel_accuracy, hopeless.mean_iou()) == (0, 0)
    # All wrong answers come first, eight of them, then the four right ones at once.
    assert hopeless.mean_ap == pytest.approx(4 / 12)


def test_a_class_that_is_nowhere():
    labels = np.zeros((1, 2, 2), np.uint8)
    ours = score_batch(labels, np.ones((1, 2, 2, 2), np.float32), labels)
    np.testing.assert_array_equal(ours.class_iou, [1, np.nan])
    assert ours.mean_iou() == 0.5
    assert ours.mean_iou("skip") == 1
    assert ours.to_dict()["class_iou"] == [1, None]


def test_pixels_that_do_not_count_change_nothing():
    predicted, scores, labels = draw(1)
    wide = [np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 2)]) for x in (predicted, scores)]
    padded = score_batch(*wide, np.pad(labels, ((0, 0), (0, 0), (0, 2)), constant_values=255), ignore=255)
    plain = score_batch(predicted, scores, labels)
    np.testing.assert_array_equal(padded.confusion, plain.confusion)
    assert padded.mean_ap == pytest.approx(plain.mean_ap, abs=1e-7)
    nothing = score_batch(predicted, scores, np.full_like(labels, -1))
    assert (nothing.pixel_accuracy, nothing.mean_ap, nothing.confusion.sum()) == (0, 0, 0)


def test_average_precision_sees_only_the_order():
    _, scores, labels = draw(2, levels=10**6)
    ours = average_precision(np.asarray(scores[0]), labels[0])
    assert float(average_precision(np.exp(3 * scores[0]), labels[0])) == float(ours)


def test_bad_masks_say_what_to_do(unchecked):
    predicted, scores, labels = draw(3)
    with pytest.raises(ValueError, match=r"masks must be \[3, 7, 5\] \[batch, row, column\]; got \[3, 7, 4\]\. Resize"):
        score_batch(predicted, scores, labels[..., :4])
    with pytest.raises(ValueError, match=r"labels 0 to 2; got \[3, 255\]\. Pixels that do not count are labelled -1"):
        score_batch(predicted, scores, np.where(labels == 0, 255, labels + 1))
    with pytest.raises(ValueError, match=r"predictions must hold labels 0 to 2; got \[9\]"):
        score_batch(np.full_like(predicted, 9), scores, labels)
    with pytest.raises(ValueError, match=r"whole numbers, one a class; got float64"):
        score_batch(predicted, scores, labels / 2)
    with pytest.raises(ValueError, match=r"same classes; got 2 and 3"):
        Segmented(np.zeros((2, 2), int), 0.0, 0) + score_batch(predicted, scores, labels)
