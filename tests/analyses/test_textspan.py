"""TextSpan from moments picks what the algorithm picks from samples, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import towers

from jaxclip.analyses.textspan import ROUNDING, TextSpan, _textspan, head_bases, textspan
from jaxclip.model.head_coordinates import head_matrices, head_state
from jaxclip.numerics.moments import Moments

EMBED = 32


def case(seed=0, n=200, rank=10, n_texts=80, embed=EMBED):
    """Samples of a head of some rank, off centre and unevenly spread, and texts of unit norm with a part in common."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((embed, rank)))[0]
    sizes = np.geomspace(1, 0.02, rank)
    samples = (rng.standard_normal((n, rank)) * sizes + rng.standard_normal(rank)) @ axes.T
    texts = rng.standard_normal((n_texts, embed)) + 2 * rng.standard_normal(embed)
    return as_float32(samples), as_float32(texts / np.linalg.norm(texts, axis=-1, keepdims=True))


def as_float32(x):
    return np.asarray(x, np.float32)


def from_words(lines, embed, seed=0):
    """Texts as sums of their words: near ties and exact duplicates, as in a real pool."""
    rng = np.random.default_rng(seed)
    words = {}
    rows = [[words.setdefault(w, rng.standard_normal(embed)) for w in sorted(line.lower().split())] for line in lines]
    texts = np.stack([np.sum(row, 0) for row in rows]) + 2 * rng.standard_normal(embed)
    return as_float32(texts / np.linalg.norm(texts, axis=-1, keepdims=True))


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_the_algorithm_on_the_samples(seed):
    samples, texts = case(seed)
    picks, rebuilt = oracle.textspan(samples, texts, rank=10, steps=8)
    span = textspan(Moments.of(samples), texts, steps=8, rank=10)
    assert span.indices.tolist() == picks
    assert np.abs(np.asarray(span.reconstruct(samples)) - rebuilt).max() < 1e-5
    left = np.square(samples - rebuilt).sum() / np.square(samples - samples.mean(0, dtype=np.float64)).sum()
    assert abs(float(span.explained[-1]) - (1 - left)) < 1e-5


def test_golden_picks_and_reconstructions(shared):
    bank, golden = np.load(shared / "golden/bank.npz"), np.load(shared / "golden/textspan.npz")
    moments = jax.vmap(jax.vmap(Moments.of, 1), 1)(bank["attn"])
    run = partial(textspan, steps=int(golden["steps"]), rank=int(golden["rank"]))
    span = jax.jit(jax.vmap(jax.vmap(run, (0, None)), (0, None)))(moments, golden["pool"])
    assert np.array_equal(span.indices, golden["indices"])
    rebuilt = np.stack(
        [
            [TextSpan(*(x[i, j] for x in jax.tree.leaves(span))).reconstruct(bank["attn"][:, i, j]) for j in range(4)]
            for i in range(4)
        ]
    )
    assert np.abs(rebuilt.transpose(2, 0, 1, 3) - golden["reconstruction"]).max() < 1e-6


def test_golden_picks_from_head_coordinates_alone(shared):
    import jaxclip

    golden = np.load(shared / "golden/textspan.npz")
    images = np.load(shared / "golden/images.npz")["images"].astype(np.float32).transpose(0, 2, 3, 1)
    vision = jaxclip.load(shared / "golden").vision
    matrices = head_matrices(vision)
    moments = None
    for start in range(0, len(images), 64):
        heads = head_state(vision, images[start : start + 64]).normalized().heads
        batch = jax.vmap(jax.vmap(Moments.of, (1, None, 0)), (1, None, 0))(heads, None, matrices)
        moments = batch if moments is None else moments.merge(batch)
    assert moments.spread.value.shape[-1] == vision.config.head_dim + 3
    run = partial(textspan, steps=int(golden["steps"]), rank=int(golden["rank"]))
    span = jax.vmap(jax.vmap(run, (0, None)), (0, None))(moments, golden["pool"])
    assert np.array_equal(span.indices, golden["indices"])


@pytest.mark.parametrize("pool", ["image_descriptions_general.txt", "google_3498_english.txt"])
def test_realistic_size(shared, pool):
    lines = (shared / "texts" / pool).read_text().splitlines()
    texts = from_words(lines, 512)
    samples, _ = case(1, n=10_000, rank=64, embed=512)
    span = textspan(Moments.of(samples), texts, steps=40, rank=64)
    # In the samples' own 64 coordinates nothing is lost, and what varies fits in 65 rows that have the same deviations.
    axes = np.linalg.svd(samples.astype(np.float64).T @ samples.astype(np.float64))[0][:, :64]
    own = samples.astype(np.float64) @ axes
    centred = np.linalg.qr(own - own.mean(0), mode="r")
    picks, _ = oracle.textspan_of_centred(centred, texts.astype(np.float64) @ axes, steps=40)
    assert first_of(lines, span.indices) == first_of(lines, picks)


def first_of(lines, picks):
    """Picks by what they say: the same words in another order are the same text."""
    return [sorted(lines[int(pick)].lower().split()) for pick in picks]


@pytest.mark.large
def test_realistic_size_against_every_sample(shared):
    texts = from_words((shared / "texts/image_descriptions_general.txt").read_text().splitlines(), 512)
    samples, _ = case(1, n=10_000, rank=64, embed=512)
    picks, rebuilt = oracle.textspan(samples, texts, rank=64, steps=20)
    span = textspan(Moments.of(samples), texts, steps=20, rank=64)
    assert span.indices.tolist() == picks
    assert np.abs(np.asarray(span.reconstruct(samples)) - rebuilt).max() < 1e-5


def test_jit_vmap_and_plain_calls_agree():
    samples, texts = case()
    stack = np.stack([samples, samples[::-1] * 2 + 1, case(3)[0]])
    moments = jax.vmap(Moments.of)(stack)
    run = partial(textspan, steps=5, rank=10)
    mapped = jax.vmap(run, (0, None))(moments, texts)
    jitted = jax.jit(jax.vmap(run, (0, None)))(moments, texts)
    for i, one in enumerate(stack):
        single = run(Moments.of(one), texts)
        for a, b, c in zip(*map(jax.tree.leaves, (single, mapped, jitted)), strict=True):
            assert np.array_equal(a, b[i])
            assert np.array_equal(a, c[i])
    assert np.array_equal(jax.jit(lambda r: run(Moments.of(samples), r))(texts).indices, mapped.indices[0])


@pytest.mark.parametrize("seed", range(5))
def test_a_rank_below_the_samples_own_is_that_of_their_second_moment(seed):
    """Few samples off centre: were the deviations counted by one less, the mean would weigh less in it."""
    samples, texts = case(seed, n=7)
    samples = as_float32(samples + 0.3 * np.random.default_rng(9).standard_normal(EMBED))
    for rank in (1, 3):
        picks, rebuilt = oracle.textspan(samples, texts, rank=rank, steps=rank)
        span = textspan(Moments.of(samples), texts, steps=rank, rank=rank)
        assert span.indices.tolist() == picks
        assert np.abs(np.asarray(span.reconstruct(samples)) - rebuilt).max() < 1e-5


def test_bases_of_heads_are_each_heads_own_at_the_rank_that_is_asked_for():
    stack = np.stack([[case(layer, n=12)[0], case(layer + 5, n=12)[0]] for layer in range(2)])
    texts = case()[1]
    moments = jax.vmap(jax.vmap(Moments.of))(stack)
    bases = head_bases(moments, texts, steps=3, rank=3)
    for place in np.ndindex(2, 2):
        alone = textspan(Moments.of(stack[place]), texts, steps=3, rank=3)
        assert bases.indices[place].tolist() == alone.indices.tolist()
        assert np.allclose(bases.directions[place], alone.directions, atol=1e-6)
    assert not np.array_equal(bases.indices, head_bases(moments, texts, steps=3).indices)


def test_coordinates_say_what_samples_say():
    rng = np.random.default_rng(0)
    coordinates, basis = rng.standard_normal((300, 11)), rng.standard_normal((11, EMBED))
    texts = case()[1]
    picks, rebuilt = oracle.textspan(as_float32(coordinates) @ as_float32(basis).astype(np.float64), texts, 8, 8)
    span = textspan(Moments.of(as_float32(coordinates), basis=as_float32(basis)), texts, steps=8)
    assert span.indices.tolist() == picks
    assert np.abs(np.asarray(span.reconstruct(as_float32(coordinates @ basis))) - rebuilt).max() < 1e-4


def test_a_planted_basis_is_found():
    rng = np.random.default_rng(0)
    texts = np.linalg.qr(rng.standard_normal((EMBED, EMBED)))[0]
    planted = [7, 3, 21]
    samples = rng.standard_normal((500, 3)) * [3, 2, 1] @ texts[planted] + rng.standard_normal(EMBED)
    span = textspan(Moments.of(as_float32(samples)), as_float32(texts), steps=3)
    assert span.indices.tolist() == planted
    assert float(span.explained[-1]) == pytest.approx(1, abs=1e-6)
    assert np.abs(np.asarray(span.reconstruct(as_float32(samples))) - samples).max() < 1e-5


def test_directions_are_orthonormal_and_early_steps_do_not_depend_on_later_ones():
    samples, texts = case()
    span = textspan(Moments.of(samples), texts, steps=9, rank=10)
    assert np.abs(np.asarray(span.directions @ span.directions.T) - np.eye(9)).max() < 1e-6
    short = textspan(Moments.of(samples), texts, steps=4, rank=10)
    for a, b in zip(jax.tree.leaves(span.first(4)), jax.tree.leaves(short), strict=True):
        assert np.array_equal(a, b)
    assert (np.diff(np.asarray(span.explained)) > 0).all()


def test_duplicate_texts_are_picked_once_and_by_the_first():
    samples, texts = case()
    alone = textspan(Moments.of(samples), texts, steps=8, rank=10).indices
    twice = textspan(Moments.of(samples), np.concatenate([texts, texts]), steps=8, rank=10).indices
    assert np.array_equal(alone, twice)


@pytest.mark.parametrize(("n", "picks"), [(1, 0), (3, 3)])
def test_few_images_leave_few_directions(n, picks):
    samples, texts = case(n=n)
    span = textspan(Moments.of(samples), texts, steps=5)
    assert (np.asarray(span.indices) >= 0).tolist() == [True] * picks + [False] * (5 - picks)
    assert np.abs(np.asarray(span.reconstruct(samples)) - samples).max() < 1e-5
    assert float(span.explained[-1]) == pytest.approx(1, abs=1e-5)


def test_after_as_many_texts_as_there_are_samples_nothing_is_left():
    """Six samples off centre vary in five directions, but texts keep the sixth, that of the mean: a text's direction
    lies across both, and it takes six of them. The released code goes on, and picks by rounding."""
    samples, texts = case(n=6)
    picks, _ = oracle.textspan(samples, texts, rank=6, steps=6)
    for rank in (None, 10):
        span = textspan(Moments.of(samples), texts, steps=8, rank=rank)
        assert span.indices.tolist() == [*picks, -1, -1]
        assert not np.asarray(span.directions)[6:].any()
        assert float(span.explained[5]) == float(span.explained[7]) == pytest.approx(1, abs=1e-6)


def test_centred_samples_leave_one_direction_less():
    """Here the released code's sixth singular vector is rounding, which would decide from the fourth text on."""
    samples, texts = case(n=6)
    samples = np.round((samples - samples.mean(0)) * 64) / 64
    samples[-1] = -samples[:-1].sum(0)
    assert not samples.sum(0, dtype=np.float64).any()
    picks, _ = oracle.textspan(samples, texts, rank=5, steps=5)
    for rank in (None, 10):
        assert textspan(Moments.of(samples), texts, steps=8, rank=rank).indices.tolist() == [*picks, -1, -1, -1]


def test_directions_of_texts_that_hardly_differ_are_orthonormal():
    samples, texts = case()
    moments = Moments.of(samples)
    with jax.enable_x64(True):
        some = texts[:4].astype(np.float64)
        near = some + 1e-6 * np.random.default_rng(1).standard_normal(some.shape)
        # What comes back from `textspan` is rounded to float32.
        run = jax.jit(partial(_textspan, steps=8, rank=10, floor=ROUNDING))
        span = run(moments, jnp.asarray(np.concatenate([some, near])))
        assert sorted(span.indices.tolist()) == list(range(8))
        directions = np.asarray(span.directions)
    assert directions.dtype == np.float64
    assert np.abs(directions @ directions.T - np.eye(8)).max() < 1e-12


def test_of_texts_that_differ_by_rounding_alone_the_first_is_picked():
    samples, texts = case()
    alone = textspan(Moments.of(samples), texts, steps=8, rank=10).indices.tolist()
    with jax.enable_x64(True):
        exact = texts.astype(np.float64)
        longer = np.nextafter(exact, 9 * np.sign(exact))
        # In float64 the longer ones would win: they stand behind.
        assert max(oracle.textspan(samples, np.concatenate([exact, longer]), 10, 8)[0]) >= len(texts)
        for pool in ([exact, longer], [longer, exact]):
            assert textspan(Moments.of(samples), np.concatenate(pool), steps=8, rank=10).indices.tolist() == alone


def test_a_constant_head_has_nothing_to_explain():
    samples, texts = np.ones((50, EMBED), np.float32), case()[1]
    span = textspan(Moments.of(samples), texts, steps=5)
    assert span.indices.tolist() == [-1] * 5
    assert np.array_equal(span.reconstruct(samples), samples)


def test_two_texts_explain_two_directions():
    samples, texts = case()
    span = textspan(Moments.of(samples), texts[:2], steps=5)
    assert sorted(span.indices.tolist()) == [-1, -1, -1, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 11, "rank": 10}, "steps must be between 1 and the rank"),
        ({"steps": 0}, "steps must be between 1"),
        ({"rank": 0}, "rank must be between 1"),
        ({"rank": EMBED + 1}, "rank must be between 1"),
        ({"texts": np.zeros((0, EMBED), np.float32)}, "at least one text"),
        ({"texts": np.zeros((3, EMBED + 1), np.float32)}, r"texts must be \[text, 32\]"),
        ({"texts": np.full((3, EMBED), np.nan, np.float32)}, "NaN"),
    ],
)
def test_bad_input_is_named(unchecked, change, message):
    samples, texts = case()
    arguments = {"texts": texts, "steps": 5, **change}
    with pytest.raises(ValueError, match=message):
        textspan(Moments.of(samples), **arguments)


def test_a_stack_is_not_one_component():
    samples, texts = case()
    stack = jax.vmap(Moments.of)(np.stack([samples, samples]))
    with pytest.raises(ValueError, match=r"jax\.vmap"):
        textspan(stack, texts)


def test_the_rank_of_a_head_is_its_own_by_default():
    vision = towers.vision()
    heads = head_state(vision, towers.images(vision.config, 40)).heads
    moments = Moments.of(heads[:, 1, 2], basis=head_matrices(vision)[1, 2])
    texts = case(embed=vision.config.embed_dim)[1]
    with pytest.raises(ValueError, match=f"the rank, {vision.config.head_dim}"):
        textspan(moments, texts, steps=vision.config.head_dim + 1)
    assert jnp.all(textspan(moments, texts, steps=vision.config.head_dim).indices >= 0)
