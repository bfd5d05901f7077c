"""Moments of parts, merged in any order, are the moments of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxclip.numerics.moments import Moments, by_label, combined

SIZE = 6


def samples(n=500, seed=0, offset=30.0):
    """Far from the origin, where a mean of squares minus the square of the mean loses most digits."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_normal((n, SIZE)) * np.geomspace(1, 1e-2, SIZE) + offset, np.float32)


def wide(pair):
    return np.asarray(pair.value, np.float64) + np.asarray(pair.rest, np.float64)


def assert_moments(moments, x, tolerance=2e-7):  # 16 float32 products summed in a row
    x = np.asarray(x, np.float64)
    spread = np.cov(x.T, bias=True) * len(x)
    assert float(moments.count) == len(x)
    # A merge rounds the share and its product with the distance, 2^-24 each; the pair holds the rest.
    assert np.abs(wide(moments.centre) - x.mean(0)).max() < 2**-23 * np.ptp(x, axis=0).max()
    assert np.abs(wide(moments.spread) - spread).max() < tolerance * np.abs(spread).max()


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 500])
def test_they_are_numpys(n):
    x = samples(n)
    moments = Moments.of(x)
    assert_moments(moments, x) if n > 1 else None
    assert np.allclose(moments.mean, x.mean(0, dtype=np.float64), rtol=1e-6)
    assert np.allclose(moments.covariance, np.cov(x.T.astype(np.float64), bias=True), atol=1e-6)
    assert float(moments.variance) == pytest.approx(x.astype(np.float64).var(0).sum(), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_under_jit_is_as_good_as_a_pair(seed):
    """Compiled, the mean's division may be contracted with the subtraction that follows; the rest then is wrong."""
    x = samples(5, seed)
    assert np.abs(wide(jax.jit(Moments.of)(x).centre) - x.mean(0, dtype=np.float64)).max() < 1e-12 * np.abs(x).max()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([1, 5, 100]), min_size=1, max_size=6), st.randoms())
def test_any_order_of_merging_gives_the_whole(sizes, random):
    x = samples(sum(sizes) + 5)
    parts = [Moments.of(part) for part in np.split(x, np.cumsum(sizes))]
    while len(parts) > 1:
        i = random.randrange(len(parts) - 1)
        parts[i : i + 2] = [parts[i].merge(parts[i + 1])]
    assert_moments(parts[0], x)


def test_many_small_batches_lose_nothing():
    x = samples(20_000)
    step = jax.jit(Moments.update)
    moments = Moments.zero(SIZE)
    for start in range(0, len(x), 50):
        moments = step(moments, x[start : start + 50])
    assert_moments(moments, x, tolerance=2e-8)


def test_nothing_is_the_identity_of_merging():
    moments = Moments.of(samples())
    for merged in (moments.merge(Moments.zero(SIZE)), Moments.zero(SIZE).merge(moments)):
        for a, b in zip(jax.tree.leaves(moments), jax.tree.leaves(merged), strict=True):
            assert np.array_equal(a, b)


def test_what_has_no_weight_leaves_no_trace():
    x = samples(100)
    padded = np.concatenate([x, np.full((28, SIZE), np.nan, np.float32)])
    weights = np.asarray([1.0] * 100 + [0.0] * 28, np.float32)
    for a, b in zip(jax.tree.leaves(Moments.of(x)), jax.tree.leaves(Moments.of(padded, weights)), strict=True):
        assert np.allclose(a, b, rtol=1e-6, atol=1e-5)
    all_padding = Moments.of(padded[100:], weights[100:])
    assert all(np.array_equal(a, np.zeros_like(a)) for a in jax.tree.leaves(all_padding))


def test_weights_count_samples():
    x = samples(10)
    weights = np.arange(10, dtype=np.float32)
    assert_moments(Moments.of(x, weights), np.repeat(x, np.arange(10), axis=0))


def test_devices_and_labels():
    x, labels = samples(300), np.arange(300) % 3
    stack = by_label(x, labels, 4)
    for label in range(3):
        assert_moments(jax.tree.map(lambda a, label=label: a[label], stack), x[labels == label])
    assert float(stack.count[3]) == 0
    assert_moments(jax.jit(combined)(stack), x)


def test_a_basis_carries_over():
    x, basis = samples(), np.random.default_rng(1).standard_normal((SIZE, 9)).astype(np.float32)
    moments = Moments.zero(SIZE, jnp.asarray(basis)).update(x[:200]).update(x[200:])
    y = x.astype(np.float64) @ basis
    assert np.allclose(moments.mean, y.mean(0), rtol=1e-5, atol=1e-4)
    covariance = np.cov(y.T, bias=True)
    assert np.abs(np.asarray(moments.covariance) - covariance).max() < 1e-5 * covariance.max()
    assert float(moments.variance) == pytest.approx(y.var(0).sum(), rel=1e-5)
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), moments)
    assert np.allclose(stacked.covariance[1], moments.covariance, rtol=1e-6)
    assert np.allclose(stacked.mean[0], moments.mean)


def test_bad_samples_are_named(unchecked):
    with pytest.raises(ValueError, match="at least one of each"):
        Moments.of(np.zeros((0, SIZE), np.float32))
    bad = samples()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        Moments.of(bad)
    with pytest.raises(ValueError, match="NaN"):
        jax.vmap(Moments.of)(np.stack([samples(), bad]))
    with pytest.raises(ValueError, match="cannot be merged"):
        Moments.zero(3).merge(Moments.zero(4))
    with pytest.raises(ValueError, match="basis must have 6 rows"):
        Moments.of(samples(), basis=np.zeros((5, 9), np.float32))
