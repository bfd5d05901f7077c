"""Statistics made to lose digits: means far larger than spreads, scales far apart, drifting means, millions of updates.

Beside float64 on the same float32 samples, and beside a plain float32 sum, which must lose where these do not.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxclip.numerics.moments import Moments, combined

SIZE = 3


def wide(pair):
    return np.asarray(pair.value, np.float64) + np.asarray(pair.rest, np.float64)


class Stream:
    """Samples in blocks, and their exact moments by float64 within a block and extended precision between them."""

    def __init__(self, offset, scales, drift=0.0, seed=0):
        self.rng = np.random.default_rng(seed)
        self.offset, self.scales, self.drift = offset, np.asarray(scales, np.float64), drift
        self.count = 0
        self.mean, self.spread = np.zeros(SIZE, np.longdouble), np.zeros((SIZE, SIZE), np.longdouble)
        self.sums = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)

    def block(self, n):
        phase = self.drift * np.sin((self.count + np.arange(n)) / 5e5)[:, None]
        x = (self.offset + phase + self.rng.standard_normal((n, SIZE)) * self.scales).astype(np.float32)
        own = x.astype(np.float64)
        mean = own.mean(0)
        apart, total = mean - self.mean, self.count + n
        self.spread += (own - mean).T @ (own - mean) + np.outer(apart, apart) * (self.count * n / total)
        self.mean += apart * n / total
        self.count = total
        return x

    @property
    def expected(self):
        return self.mean.astype(np.float64), self.spread.astype(np.float64)


@jax.jit
def one_by_one(moments, samples):
    """As many updates as samples."""
    return jax.lax.scan(lambda all_, x: (all_.update(x[None]), None), moments, samples)[0]


def assert_moments(moments, stream, tolerance):
    mean, spread = stream.expected
    assert float(moments.count) == stream.count
    # 2^-22: a merge rounds its share of a distance, which is at most the range of the samples.
    reach = np.abs(stream.scales).max() * 10 + stream.drift
    assert np.abs(wide(moments.centre) - mean).max() < 2**-22 * reach
    sizes = np.sqrt(np.diag(spread))
    # Every entry by the size of its own two coordinates: a tiny variance beside a large one is not excused.
    assert np.abs((wide(moments.spread) - spread) / np.outer(sizes, sizes)).max() < tolerance


STREAMS = {
    "a mean a million times the spread": {"offset": 1e6, "scales": [1, 1, 1]},
    "a mean at the end of float32's digits": {"offset": 3e7, "scales": [8, 16, 4]},
    "variances 16 orders apart": {"offset": 0.0, "scales": [1e4, 1, 1e-4]},
    "tiny values": {"offset": 1e-12, "scales": [1e-15, 1e-14, 1e-13]},
    "large values": {"offset": 1e15, "scales": [1e13, 1e14, 1e12]},
    "a drifting mean": {"offset": 1e3, "scales": [1, 1e-1, 1e-2], "drift": 50.0},
}


@pytest.mark.parametrize("name", STREAMS)
def test_samples_one_by_one_and_in_batches(name):
    stream = Stream(**STREAMS[name])
    samples = np.concatenate([stream.block(1000) for _ in range(3)])
    assert_moments(one_by_one(Moments.zero(SIZE), samples), stream, 2e-6)
    batches = jax.vmap(Moments.of)(jnp.asarray(samples.reshape(30, 100, SIZE)))
    assert_moments(jax.jit(combined)(batches), stream, 2e-6)


def test_a_plain_float32_sum_would_lose_what_these_keep():
    stream = Stream(**STREAMS["a mean a million times the spread"])
    samples = stream.block(3000)
    spread = stream.expected[1]
    plain = np.float32(0) + sum(np.outer(x, x) for x in samples) - 3000 * np.outer(samples.mean(0), samples.mean(0))
    ours = wide(one_by_one(Moments.zero(SIZE), samples).spread)
    errors = [np.abs(found - spread).max() / spread.max() for found in (plain, ours)]
    assert errors[0] > 1e4 * errors[1]


def test_what_never_varies_has_no_variance_however_large_it_is():
    for value in (0.1, 1e7 + 1, -3e15, 1e-30):
        samples = np.full((500, SIZE), value, np.float32)
        moments = one_by_one(Moments.of(samples), samples)
        assert np.array_equal(np.asarray(moments.mean), samples[0])
        assert not np.asarray(moments.covariance).any()


def test_one_sample_into_millions_and_millions_into_one():
    """Counts 2^22 to one: weights stand for the millions."""
    x = np.array([[1e4, 2, 3], [1e4 + 1, 2.5, 3.25], [1e4 + 7, -2, 1]], np.float32)
    many = Moments.of(x[:2], np.array([2**21, 2**21], np.float32))
    for merged in (many.merge(Moments.of(x[2:])), Moments.of(x[2:]).merge(many)):
        weights = np.array([2**21, 2**21, 1], np.float64)
        mean = weights @ x / weights.sum()
        apart = x - mean
        spread = (apart * weights[:, None]).T @ apart
        assert float(merged.count) == 2**22 + 1
        assert np.abs(wide(merged.centre) - mean).max() < 1e-6
        assert np.abs(wide(merged.spread) - spread).max() < 1e-6 * np.abs(spread).max()


def test_values_whose_squares_are_infinite_are_refused(unchecked):
    with pytest.raises(ValueError, match="too large to be squared"):
        Moments.of(np.array([[1e30, 0, 0], [-1e30, 0, 0]], np.float32))


@pytest.mark.large
@pytest.mark.parametrize("name", ["a mean a million times the spread", "a drifting mean"])
def test_ten_million_updates(name):
    stream, moments = Stream(**STREAMS[name]), Moments.zero(SIZE)
    for _ in range(100):
        moments = one_by_one(moments, stream.block(100_000))
    assert stream.count == 10_000_000
    assert_moments(moments, stream, 2e-6)
