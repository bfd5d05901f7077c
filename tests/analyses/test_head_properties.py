"""Labels beside heads: how much of a variance a label explains, and what a basis is about."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxclip.analyses.head_properties import PropertyShares, category_shares, label_shares, property_of_pool
from jaxclip.analyses.textspan import TextSpan
from jaxclip.data.text_pools import Pool


def test_a_label_explains_what_was_planted():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 4000)
    values = rng.standard_normal((5, 16))
    noise = rng.standard_normal((4000, 16))
    between = values[labels]
    share = between.var(0).sum() / (between.var(0).sum() + noise.var(0).sum())
    samples = np.stack([between, noise, between + noise, 7 + 0 * noise], axis=1).astype(np.float32)
    assert label_shares(samples, labels) == pytest.approx([1, 0, share, 0], abs=0.02)


def test_labels_that_say_nothing_explain_nothing_however_many_they_are():
    rng = np.random.default_rng(1)
    samples, labels = rng.standard_normal((300, 200, 4)), rng.integers(0, 40, 300)
    assert abs(label_shares(samples, labels).mean()) < 0.005


def test_the_share_of_a_label_is_the_adjusted_r_squared_of_the_closed_form():
    samples = np.array([[1.0, 2.0], [3.0, 1.0], [4.0, 4.0], [6.0, 5.0], [5.0, 9.0], [0.0, 2.0], [2.0, 5.0]])
    labels = np.array([7, 7, 2, 2, 2, 5, 7])
    within = sum(np.square(samples[labels == value] - samples[labels == value].mean(0)).sum() for value in (2, 5, 7))
    whole = np.square(samples - samples.mean(0)).sum()
    adjusted = 1 - (within / (7 - 3)) / (whole / (7 - 1))
    assert 0.1 < adjusted < 0.9
    assert label_shares(samples[:, None], labels) == pytest.approx([adjusted], abs=1e-12)
    # A label that says less than a random one would is told as that, below zero.
    mixed = np.array([0, 0, 1, 1, 2, 2])
    values = np.array([0.0, 2.0, 0.0, 2.0, 0.0, 2.0])[:, None, None]
    assert label_shares(values, mixed) == pytest.approx([1 - (6 / 3) / (6 / 5)], abs=1e-12)


@pytest.mark.parametrize("labels", [np.zeros(6, int), np.arange(6)])
def test_labels_of_one_value_or_of_all_values_are_named(labels):
    with pytest.raises(ValueError, match="two values or more"):
        label_shares(np.ones((6, 2)), labels)


def test_what_a_basis_is_about():
    indices, explained = np.array([[2, 0, -1], [1, 3, 2]]), np.array([[0.3, 0.4, 0.4], [0.1, 0.3, 0.6]])
    span = TextSpan(indices, np.zeros((2, 3, 4)), explained, np.zeros((2, 4)))
    found = category_shares(span, ("sea", "sky", "sky", "sea"), ("sky", "sea"))
    assert found == pytest.approx(np.array([[0.75, 0.25], [4 / 6, 2 / 6]]))
    assert category_shares(span.first(1), ("sea", "sky", "sky", "sea"), ("sky", "sea")) == pytest.approx(
        np.array([[1, 0], [1, 0]])
    )


def test_proposals_are_late_and_hold_at_least_half():
    score = jnp.array([[0.9, 0.1], [0.6, 0.5], [0.2, 0.7]])
    shares = PropertyShares(score, score, jnp.ones_like(score))
    assert shares.propose() == [(0, 0), (2, 1), (1, 0), (1, 1)]
    assert shares.propose(late=2) == [(2, 1), (1, 0), (1, 1)]
    assert shares.propose(late=2, top=1) == [(2, 1)]
    weak = PropertyShares(score / 9, score / 9, jnp.ones_like(score))
    assert weak.propose(late=1) == [(2, 1)]
    for late, top in ((0, 1), (4, 1), (1, 3), (1, 0)):
        with pytest.raises(ValueError, match=r"must be 1 to"):
            shares.propose(late=late, top=top)


def test_heads_of_one_score_stand_in_the_models_order_and_the_least_size_counts():
    score = jnp.array([[0.5, 0.7], [0.7, 0.5]])
    shares = PropertyShares(score, score, jnp.array([[0.4, 0.25], [0.25, 0.1]]))
    assert [place[:2] for place in shares.ranking()] == [(0, 1), (1, 0), (0, 0), (1, 1)]
    assert [place[:2] for place in shares.ranking(least_size=0.25)] == [(0, 1), (1, 0), (0, 0)]


def test_texts_of_a_property_are_not_among_the_others():
    pool = Pool("p", ("sea", "red", "wood", "sea view"), ("place", "colour", "place", "view"))
    texts, others = property_of_pool(pool, "place")
    assert (texts, others.tolist()) == (("sea", "wood"), [False, True, False, True])
    texts, others = property_of_pool(pool, "mine", ("red", "blue"))
    assert (texts, others.tolist()) == (("red", "blue"), [True, False, True, True])
    with pytest.raises(ValueError, match="no texts about 'mood'; it has place, colour, view"):
        property_of_pool(pool, "mood")
    with pytest.raises(ValueError, match="nothing but all"):
        property_of_pool(pool, "all", pool.texts)
