"""Ablated embeddings are sums with some terms replaced, and the accuracies are the released code's."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import towers

from jaxclip.analyses.ablation import (
    Ablation,
    Components,
    attention_layers,
    completeness_scores,
    correct,
    mean_ablate,
    single_heads,
)
from jaxclip.analyses.textspan import TextSpan
from jaxclip.model.head_coordinates import head_matrices, head_state

LAYERS, HEADS, EMBED = 3, 4, 24


def components(batch=10, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (batch, EMBED), (batch, LAYERS, HEADS, EMBED), (batch, LAYERS, EMBED), (batch, LAYERS, EMBED)
    return Components(*(rng.standard_normal(shape).astype(np.float32) + 1 for shape in shapes))


@pytest.fixture(scope="module")
def bank(shared):
    bank = np.load(shared / "golden/bank.npz")
    return bank, Components(bank["mlp"][:, 0], bank["attn"], bank["mlp"][:, 1:], bank["cls_attn"])


def accuracies(bank, ablations):
    arrays, terms = bank
    found = correct(terms, terms.mean(), arrays["classifier"].T, arrays["labels"], ablations)
    return (100 * np.asarray(found).mean(-1)).tolist()


def test_golden_accuracies(bank, shared):
    printed = [
        [float(x) for x in re.findall(r"\d+\.\d+", line)]
        for line in (shared / "golden/ablation.txt").read_text().splitlines()
    ]
    named = [{}, {"mlps": True}, {"class_attn": True}, {"mlps": True, "class_attn": True}]
    sets = Ablation.stack([Ablation.of(4, 4, **names) for names in named])
    assert accuracies(bank, sets) == [line[0] for line in printed[:4]]
    assert accuracies(bank, attention_layers(4, 4)) == printed[4]


def test_golden_accuracy_of_reconstructions(bank, shared):
    arrays, terms = bank
    golden = np.load(shared / "golden/textspan.npz")["reconstruction"]
    rebuilt = np.concatenate([np.broadcast_to(arrays["attn"][:, :2].mean(0), (256, 2, 4, 64)), golden[:, 2:]], axis=1)
    nothing = Ablation.stack([Ablation.of(4, 4)])
    assert round(accuracies((arrays, replace(terms, heads=rebuilt)), nothing)[0], 2) == 55.86


def test_completeness_ends_at_the_golden_reconstructions(bank, shared):
    from functools import partial

    from jaxclip.analyses.textspan import textspan
    from jaxclip.numerics.moments import Moments

    arrays, terms = bank
    golden = np.load(shared / "golden/textspan.npz")
    moments = jax.vmap(jax.vmap(Moments.of, 1), 1)(arrays["attn"][:, 2:])
    run = partial(textspan, steps=12, rank=20)
    spans = jax.vmap(jax.vmap(run, (0, None)), (0, None))(moments, golden["pool"])
    scores = completeness_scores(terms, terms.mean(), spans, arrays["classifier"].T)
    share = (scores.argmax(-1) == arrays["labels"]).mean(-1)
    assert scores.shape == (13, 256, 10)
    assert round(100 * float(share[-1]), 2) == 55.86
    everything = Ablation.stack([Ablation.of(4, 4, layers=range(4))])
    assert 100 * float(share[0]) == accuracies(bank, everything)[0]


def test_completeness_is_the_sum_with_reconstructions_in_it():
    terms, rng = components(), np.random.default_rng(1)
    directions = np.linalg.qr(rng.standard_normal((2, HEADS, EMBED, 3)))[0].swapaxes(-1, -2).astype(np.float32)
    mean = rng.standard_normal((2, HEADS, EMBED)).astype(np.float32)
    stack = np.zeros((2, HEADS, 3))
    spans = TextSpan(stack.astype(np.int32), directions, stack.astype(np.float32), mean)
    classes = rng.standard_normal((5, EMBED)).astype(np.float32)
    means = components(seed=2).mean()
    mlps = Ablation(mlps=np.asarray([True, False, True]))
    scores = completeness_scores(terms, means, spans, classes, mlps)
    for m in range(4):
        kept = directions[:, :, :m].astype(np.float64)
        late = mean + np.einsum("blhe,lhie,lhif->blhf", terms.heads[:, 1:] - mean, kept, kept)
        embedding = terms.init + late.sum((1, 2)) + np.asarray(means.heads[0]).sum(0) + terms.mlp[:, 1]
        embedding = embedding + np.asarray(means.mlp)[[0, 2]].sum(0)
        assert np.abs(np.asarray(scores[m]) - embedding @ classes.T).max() < 1e-4


def test_ablating_nothing_changes_nothing_and_everything_leaves_the_means():
    terms, means = components(), components(seed=1).mean()
    assert np.array_equal(mean_ablate(terms, means, Ablation()), terms.total())
    assert np.array_equal(mean_ablate(terms, means, Ablation.of(LAYERS, HEADS)), terms.total())
    everything = Ablation.of(LAYERS, HEADS, layers=range(LAYERS), mlps=True, class_attn=True)
    assert np.abs(np.asarray(mean_ablate(terms, means, everything) - means.total())).max() < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_chosen_terms_are_replaced_by_means(seed):
    rng = np.random.default_rng(seed)
    terms, means = components(), components(seed=1).mean()
    heads, mlps = rng.random((LAYERS, HEADS)) < 0.5, rng.random(LAYERS) < 0.5
    expected = terms.init + np.where(heads[..., None], means.heads, terms.heads).sum((1, 2))
    expected = expected + np.where(mlps[:, None], means.mlp, terms.mlp).sum(1)
    found = mean_ablate(terms, means, Ablation(heads, mlps))
    assert np.abs(np.asarray(found) - expected).max() < 1e-5
    classes = rng.standard_normal((7, EMBED)).astype(np.float32)
    projected = mean_ablate(terms.project(classes), means.project(classes), Ablation(heads, mlps))
    assert np.abs(np.asarray(projected) - expected @ classes.T).max() < 1e-4


def test_a_stack_of_sets_is_each_set():
    terms, means = components(), components(seed=1).mean()
    stack = single_heads(LAYERS, HEADS)
    together = jax.jit(jax.vmap(mean_ablate, (None, None, 0)))(terms, means, stack)
    for i in range(LAYERS * HEADS):
        alone = mean_ablate(terms, means, Ablation.of(LAYERS, HEADS, heads=[divmod(i, HEADS)]))
        assert np.abs(np.asarray(together[i] - alone)).max() < 1e-5


def test_class_attention_of_a_model():
    vision = towers.vision()
    images = towers.images(vision.config, 4)
    full = vision(images)[1]
    kept = Components.of_state(head_state(vision, images), head_matrices(vision))
    known = Components.of(full)
    chosen = Ablation.of(LAYERS, HEADS, class_attn=True)
    expected = full.total() - (full.attn[:, :, :, 0] - full.attn[:, :, :, 0].mean(0)).sum((1, 2))
    for terms in (kept, known):
        assert np.abs(np.asarray(mean_ablate(terms, terms.mean(), chosen) - expected)).max() < 1e-5
    # Where a layer goes as a whole, the class token's part went with it.
    both = Ablation.of(LAYERS, HEADS, layers=range(LAYERS), class_attn=True)
    heads = Ablation.of(LAYERS, HEADS, layers=range(LAYERS))
    assert np.array_equal(mean_ablate(kept, kept.mean(), both), mean_ablate(kept, kept.mean(), heads))


def test_padding_is_not_in_the_mean():
    terms = components()
    padded = jax.tree.map(lambda x: jnp.concatenate([x, jnp.full_like(x[:3], jnp.nan)]) if jnp.ndim(x) else x, terms)
    means = padded.mean(np.asarray([1] * 10 + [0] * 3, np.float32))
    for a, b in zip(jax.tree.leaves(means), jax.tree.leaves(terms.mean()), strict=True):
        assert np.allclose(a, b, atol=1e-6)


def test_bad_input_is_named(unchecked):
    terms = components()
    classes, labels = np.eye(EMBED, dtype=np.float32)[:5], np.asarray([0, 1, 2, 3, 4] * 2)
    with pytest.raises(ValueError, match="labels must lie between 0 and 4; got 0 to 5"):
        correct(terms, terms.mean(), classes, labels + (labels == 4), single_heads(LAYERS, HEADS))
    with pytest.raises(ValueError, match=r"there is no head 1\.4"):
        Ablation.of(LAYERS, HEADS, heads=[(1, 4)])
    with pytest.raises(ValueError, match="there is no layer -1"):
        Ablation.of(LAYERS, HEADS, layers=[-1])
    with pytest.raises(ValueError, match="all together or not at all"):
        Ablation.of(LAYERS, HEADS, heads=[(0, 0)], class_attn=True)
    with pytest.raises(ValueError, match="class_attn was not kept"):
        mean_ablate(replace(terms, class_attn=None), terms.mean(), Ablation.of(LAYERS, HEADS, class_attn=True))
    with pytest.raises(ValueError, match="same model and space"):
        mean_ablate(terms, terms.project(classes).mean(), Ablation())
