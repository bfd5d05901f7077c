"""Two checkpoints of one planted truth: what is common to them is found, whatever basis their joint space has."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxclip.analyses.compare_heads import (
    effect_correlation,
    explained_by,
    label_share,
    pairwise_similarity,
    shared_texts,
    similarity,
    subspace_overlap,
    text_effects,
)
from jaxclip.analyses.textspan import TextSpan, textspan
from jaxclip.numerics.moments import Moments, by_label

LAYERS, HEADS, UNITS, EMBED = 1, 2, 8, 11


def heads(seed, n=60, embed=EMBED):
    """Samples [layer, head, n, unit] and bases [layer, head, unit, embed]."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((LAYERS, HEADS, n, UNITS)) * np.geomspace(3, 0.3, UNITS) + rng.standard_normal(UNITS)
    return samples.astype(np.float32), rng.standard_normal((LAYERS, HEADS, UNITS, embed)).astype(np.float32)


def moments(samples, basis):
    made = jax.vmap(jax.vmap(Moments.of))(jnp.asarray(samples))
    return replace(made, basis=jnp.asarray(basis))


def joint(samples, basis):
    return np.einsum("lhnu,lhue->lhne", samples.astype(np.float64), basis.astype(np.float64))


def covariances(samples, basis):
    x = joint(samples, basis)
    x = x - x.mean(2, keepdims=True)
    return np.einsum("lhne,lhnf->lhef", x, x) / x.shape[2]


def rotation(seed, size):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0].astype(np.float32)


def test_similarity_is_that_of_covariances():
    (x, a), (y, b) = heads(0), heads(1)
    one, other = moments(x, a), moments(y, b)
    first, second = covariances(x, a), covariances(y, b)
    dots = np.einsum("lhef,mgef->lhmg", first, second)
    norms = np.linalg.norm(first, axis=(2, 3)), np.linalg.norm(second, axis=(2, 3))
    expected = dots / np.einsum("lh,mg->lhmg", *norms)
    assert np.allclose(pairwise_similarity(one, other), expected, atol=1e-5)
    assert np.allclose(similarity(one, other)[0], np.einsum("hh->h", expected[0, :, 0]), atol=1e-5)
    assert np.allclose(similarity(one, one), 1, atol=1e-6)


def test_heads_of_models_with_other_joint_spaces_are_known_by_what_they_do_to_texts():
    """The second model is the first in a rotated joint space of more dimensions, its heads in another order."""
    samples, basis = heads(0)
    texts = np.random.default_rng(5).standard_normal((30, EMBED)).astype(np.float32)
    turn = rotation(3, EMBED + 2)[:EMBED]
    one, other = moments(samples, basis), moments(samples[:, ::-1], basis[:, ::-1] @ turn)
    both = (texts + 7, texts @ turn - 3)  # What all texts share says nothing.
    found = pairwise_similarity(one, other, both)
    assert np.asarray(found[0, :, 0].argmax(-1)).tolist() == [1, 0]
    assert np.allclose([found[0, 0, 0, 1], found[0, 1, 0, 0]], 1, atol=1e-5)
    scores = np.einsum("lhne,se->lhns", joint(samples, basis), texts - texts.mean(0, dtype=np.float64))
    scores = scores - scores.mean(2, keepdims=True)
    cov = np.einsum("lhns,lhnt->lhst", scores, scores)[0]
    expected = (cov[0] * cov[1]).sum() / np.linalg.norm(cov[0]) / np.linalg.norm(cov[1])
    assert float(similarity(one, other, both)[0, 0]) == pytest.approx(expected, abs=1e-5)


def test_overlap_is_that_of_principal_angles():
    (x, a), (y, b) = heads(0), heads(1)
    first, second = covariances(x, a), covariances(y, b)
    expected = np.zeros((LAYERS, HEADS))
    for head in range(HEADS):
        u, v = (np.linalg.eigh(c[0, head])[1][:, -2:] for c in (first, second))
        expected[0, head] = np.square(np.linalg.svd(u.T @ v, compute_uv=False)).mean()
    assert np.allclose(subspace_overlap(moments(x, a), moments(y, b), 2), expected, atol=1e-4)
    assert np.allclose(subspace_overlap(moments(x, a), moments(-2 * x, a), 2), 1, atol=1e-5)


def test_texts_in_common():
    def span(picks):
        picks = np.array([[picks]], np.int32)
        zeros = np.zeros(picks.shape, np.float32)
        return TextSpan(picks, np.zeros((*picks.shape, 2), np.float32), zeros, np.zeros((1, 1, 2), np.float32))

    assert float(shared_texts(span([3, 1, 2]), span([5, 3, 1]))[0, 0]) == pytest.approx(2 / 4)
    assert float(shared_texts(span([3, -1, -1]), span([3, -1, -1]))[0, 0]) == 1
    assert float(shared_texts(span([-1, -1]), span([-1, -1]))[0, 0]) == 0


def spanned(samples, texts):
    """Share of the samples' variance in the span of texts, these projected on the samples' top head_dim directions."""
    top = np.linalg.svd(samples, full_matrices=False)[2][: UNITS - 3]
    axes = np.linalg.svd(texts @ top.T @ top, full_matrices=False)[2]
    apart = samples - samples.mean(0)
    return np.square(apart @ axes.T).sum() / np.square(apart).sum()


def test_texts_of_another_head_explain_what_they_span():
    (x, a), (y, b) = heads(0), heads(1)
    texts = np.random.default_rng(5).standard_normal((30, EMBED)).astype(np.float32)
    one, other = moments(x, a), moments(y, b)
    run = jax.vmap(jax.vmap(lambda m: textspan(m, texts, steps=2)))
    own, others = run(one), run(other)
    assert np.allclose(explained_by(one, texts, own.indices), own.explained[..., -1], atol=1e-6)
    found = explained_by(one, texts, others.indices)
    for head in range(HEADS):
        expected = spanned(joint(x, a)[0, head], texts[np.asarray(others.indices[0, head])].astype(np.float64))
        assert float(found[0, head]) == pytest.approx(expected, abs=1e-5)
    none = np.full((LAYERS, HEADS, 2), -1)
    assert not np.asarray(explained_by(one, texts, none)).any()


def test_effects_on_texts():
    x, a = heads(2)
    texts = np.random.default_rng(5).standard_normal((4, EMBED)).astype(np.float32)
    effects = np.einsum("lhne,se->lhns", joint(x, a), texts)
    mean, deviation = text_effects(moments(x, a), texts)
    assert np.allclose(mean, effects.mean(2), atol=1e-4)
    assert np.allclose(deviation, effects.std(2), rtol=1e-4)
    plain = jax.vmap(jax.vmap(Moments.of))(jnp.asarray(joint(x, a), jnp.float32))
    assert np.allclose(text_effects(plain, texts)[1], effects.std(2), rtol=1e-4)
    first = np.moveaxis(effects, 2, 0)
    second = first * np.float64([1, -2, 1e-12, 0]) + np.random.default_rng(0).standard_normal(first.shape)
    second[..., 3] = 4
    found = effect_correlation(first.astype(np.float32), second.astype(np.float32))
    for place in np.ndindex(LAYERS, HEADS, 3):
        at = (slice(None), *place)
        assert float(found[place]) == pytest.approx(np.corrcoef(first[at], second[at])[0, 1], abs=1e-4)
    assert not np.asarray(found[..., 3]).any()


def test_what_a_label_accounts_for():
    """Samples whose mean follows a label of three values, and samples that ignore it."""
    rng = np.random.default_rng(0)
    n, labels = 3000, rng.integers(0, 3, 3000)
    noise = rng.standard_normal((n, UNITS))
    knowing = noise + 2 * np.eye(3, UNITS)[labels]
    basis = rng.standard_normal((UNITS, EMBED)).astype(np.float32)
    expected = knowing @ basis
    groups = [expected[labels == value] for value in range(3)]
    within = sum(np.square(g - g.mean(0)).sum() for g in groups) / (n - 3)
    whole = np.square(expected - expected.mean(0)).sum() / (n - 1)
    stack = [by_label(x.astype(np.float32), labels, 4) for x in (knowing, noise)]
    both = jax.tree.map(lambda *x: jnp.stack(x, 1), *stack)
    shares = label_share(both, np.stack([basis, basis]))
    assert float(shares[0]) == pytest.approx(1 - within / whole, abs=1e-5)
    assert float(shares[1]) < 0.01
    few = [float(label_share(by_label(rng.standard_normal((9, UNITS)).astype(np.float32), labels[:9], 3)))
           for _ in range(40)]  # fmt: skip
    assert np.mean(few) < 0.12  # 2/8 without the correction for degrees of freedom


def test_bad_input_is_named(unchecked):
    one, other = moments(*heads(0)), moments(*heads(1, embed=6))
    with pytest.raises(ValueError, match="compare through texts"):
        similarity(one, other)
    with pytest.raises(ValueError, match="same in number"):
        similarity(one, other, (np.ones((3, EMBED), np.float32), np.ones((2, 6), np.float32)))
    with pytest.raises(ValueError, match="same heads"):
        similarity(one, jax.tree.map(lambda x: x[:, :1], one))
    with pytest.raises(ValueError, match="rank must be between 1 and 8"):
        subspace_overlap(one, one, 9)
