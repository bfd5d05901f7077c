"""Heads that hold a property are found, and groups are counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_pass

from jaxclip.analyses import debias
from jaxclip.analyses.debias import GroupCounts, count_groups, group_means, random_draws, random_heads
from jaxclip.analyses.head_properties import property_shares
from jaxclip.numerics.moments import Moments
from jaxclip.report.debias import _random

EMBED = 16


def test_a_planted_property_is_found():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((EMBED, EMBED)))[0].astype(np.float32)
    size = np.ones((2, 3, EMBED), np.float32)
    size[..., :4] = 0.05
    # Head 1.0 varies in the property alone, head 0.2 in it as much as in all else, head 1.2 not at all.
    size[1, 0] = [1] * 4 + [0.05] * 12
    size[0, 2] = 0.7
    size[1, 2] = 0
    samples = rng.standard_normal((400, 2, 3, EMBED)).astype(np.float32) * size @ axes
    moments = jax.vmap(jax.vmap(Moments.of, 1), 1)(samples)
    shares = property_shares(moments, axes[:4], axes, steps=8)
    ranking = shares.ranking()
    assert [place[:2] for place in ranking[:2]] == [(1, 0), (0, 2)]
    assert ranking[0][2] > 0.95
    assert ranking[0][2] > 2 * ranking[2][2]
    assert float(shares.score[1, 2]) == 0
    assert float(shares.size.sum()) == pytest.approx(1, abs=1e-5)
    for share in (shares.basis, shares.variance, shares.size):
        assert ((np.asarray(share) >= 0) & (np.asarray(share) <= 1)).all()
    assert (1, 2) not in [place[:2] for place in shares.ranking(least_size=0.01)]


def test_shares_by_hand():
    # Of each axis two samples, so that the covariance is diagonal.
    sizes = np.array([[4.0, 2.0, 1.0, 1.0], [0.0, 0.0, 3.0, 1.0]])
    rows = np.concatenate([np.eye(4), -np.eye(4)])[:, None] * np.sqrt(4 * sizes)
    moments = jax.vmap(jax.vmap(Moments.of, 1), 1)(np.float32(rows[:, None]))
    own, pool = np.eye(4, dtype=np.float32)[:2], np.eye(4, dtype=np.float32)[2:]
    pool[0] *= 5  # a long text is picked before others that would explain more
    # The first head picks 2, which explains 1 of 8, then 0, which explains 4; with its own texts alone it is 6 of 8.
    shares = property_shares(moments, own, pool, steps=2)
    assert np.asarray(shares.basis) == pytest.approx(np.array([[0.8, 0]]), abs=1e-6)
    assert np.array_equal(shares.variance, [[1, 0]])
    assert np.asarray(shares.size) == pytest.approx(np.array([[8 / 12, 4 / 12]]))
    # Within one direction there is nothing but the first text.
    narrow = property_shares(moments, own, pool, steps=1, rank=1)
    assert np.asarray(narrow.basis) == pytest.approx(np.array([[1, 0]]), abs=1e-6)
    assert np.asarray(narrow.variance) == pytest.approx(np.array([[1, 0]]), abs=1e-6)


def test_groups_are_counted():
    rng = np.random.default_rng(0)
    right, groups = rng.random((3, 90)) < 0.6, rng.integers(0, 4, 90)
    whole = count_groups(right, groups, 5)
    for i in range(3):
        per_group = [right[i][groups == g].mean() for g in range(4)]
        assert np.allclose(whole.groups[i, :4], per_group)
        assert np.isnan(whole.groups[i, 4])
        assert float(whole.worst[i]) == pytest.approx(min(per_group))
        assert float(whole.overall[i]) == pytest.approx(right[i].mean())
    padded = count_groups(
        np.concatenate([right[:, 50:], right[:, :9]], axis=1),
        np.concatenate([groups[50:], groups[:9]]),
        5,
        np.asarray([1] * 40 + [0] * 9, np.float32),
    )
    parts = count_groups(right[:, :50], groups[:50], 5) + padded
    assert np.array_equal(parts.correct, whole.correct)
    assert np.array_equal(parts.total, whole.total)


def test_groups_out_of_range_are_named():
    with pytest.raises(ValueError, match="groups must lie between 0 and 3; got -1 to 2"):
        count_groups(np.ones(3, bool), np.asarray([-1, 0, 2]), 4)


def test_random_heads_are_as_many_and_never_the_excluded():
    sets = random_heads(20, 3, [1, 2], 4, 5, seed=0, without=[(1, 0), (2, 4)])
    assert sets.heads.shape == (20, 4, 5)
    assert (sets.heads.sum((1, 2)) == 3).all()
    assert not sets.heads[:, [0, 3]].any()
    assert not sets.heads[:, 1, 0].any()
    assert len({one.tobytes() for one in sets.heads}) > 10
    assert np.array_equal(sets.heads, random_heads(20, 3, [1, 2], 4, 5, seed=0, without=[(1, 0), (2, 4)]).heads)
    with pytest.raises(ValueError, match="9 heads are to be drawn from 8"):
        random_heads(1, 9, [1, 2], 4, 5, seed=0, without=[(1, 0), (2, 4)])


@pytest.mark.parametrize("block", [1, 5, 17, 18, 512])
def test_group_means_are_the_plain_mean_whatever_the_block(block, monkeypatch, tmp_path_factory):
    run = small_pass.run(tmp_path_factory.getbasetemp())
    rows = np.setdiff1d(np.arange(21), [3, 5, 11])  # two of them cannot be read, and one has no label
    monkeypatch.setattr(debias, "BLOCK", block)
    means = group_means(run, run, ("label", "group"))
    held = {name: np.float64(run.bank.read(name))[rows] for name in ("heads", "mlp", "init", "class_attn")}
    held["heads"] = np.einsum("blhu,lhue->blhe", held["heads"], np.float64(run.matrices))
    for name, values in held.items():
        assert np.abs(np.asarray(getattr(means, name)) - values.mean(0)).max() < 1e-6 * np.abs(values).max(), name


def test_draws_of_a_run_are_by_its_seed_and_from_its_last_layers(tmp_path_factory):
    run = small_pass.run(tmp_path_factory.getbasetemp())
    draws = {seed: random_draws(run, 2, late=2, n_sets=8, seed=seed) for seed in (0, 3)}
    for seed, drawn in draws.items():
        masks = random_heads(8, 2, [1, 2], 3, 4, seed).heads
        assert drawn == [[(layer, head) for layer, head in np.argwhere(mask).tolist()] for mask in masks]
    assert draws[0] != draws[3]
    assert {layer for drawn in draws[3] for layer, _ in drawn} == {1, 2}


def test_random_heads_say_their_mean_and_how_far_they_lie_apart():
    right, total = jnp.array([[9.0, 2.0], [6.0, 4.0], [3.0, 1.0]]), jnp.array([[10.0, 4.0]] * 3)
    overall, worst = [11 / 14, 10 / 14, 4 / 14], [0.5, 0.6, 0.25]
    found = [{"overall": o, "weighted": None, "worst_group": w} for o, w in zip(overall, worst, strict=True)]
    said = _random(GroupCounts(right, total), found, [[(1, 2)], [(0, 3)], [(1, 0)]], ("a", "b"))
    # Three draws: deviations from their mean, squared, are divided by two.
    for what, values in (("overall", overall), ("worst_group", worst)):
        mean = sum(values) / 3
        std = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
        assert said[what] == pytest.approx({"mean": mean, "std": std, "min": min(values), "max": max(values)})
    assert said["weighted"] is None
    assert said["groups"] == pytest.approx({"a": 0.6, "b": 7 / 12})
    assert [draw["heads"] for draw in said["draws"]] == [["1.2"], ["0.3"], ["1.0"]]
    assert [draw["worst_group"] for draw in said["draws"]] == worst
