"""Nearest images by some heads, and how good they are."""

import numpy as np
import pytest
import small_pass
import towers

from jaxclip.analyses.retrieval import (
    bank_head_sum,
    chance,
    embeddings_of,
    head_sum,
    mean_precision,
    nearest,
    precision,
)
from jaxclip.model.head_coordinates import head_matrices, head_state


def test_head_sum_is_the_sum_of_contributions():
    vision = towers.vision()
    images = towers.images(vision.config, 5)
    attn = np.asarray(vision(images, detail="head")[1].attn)
    heads = np.zeros(attn.shape[1:3], bool)
    heads[1, 2] = heads[2, 0] = True
    state = head_state(vision, images)
    found = head_sum(state.heads, head_matrices(vision), heads)
    assert np.abs(np.asarray(found) - attn[:, 1, 2] - attn[:, 2, 0]).max() < 1e-5
    centred = np.asarray(head_sum(state.heads, head_matrices(vision), heads, attn.mean(0)))
    assert np.abs(centred.mean(0)).max() < 1e-5
    everything = head_sum(state.heads, head_matrices(vision), np.ones_like(heads))
    assert np.abs(np.asarray(everything) - attn.sum((1, 2))).max() < 1e-5


@pytest.mark.parametrize("units", ["normalized", "raw"])
def test_a_picture_is_compared_in_the_runs_units(units):
    vision = towers.vision()
    images = towers.images(vision.config, 3)
    contributions = vision(images, detail="head")[1]
    norms = np.linalg.norm(np.asarray(contributions.total()), axis=-1, keepdims=True)
    expected = np.asarray(contributions.attn)[:, [1, 2], [2, 0]].sum(1), np.asarray(contributions.total())
    # A head that is named twice counts once.
    found = embeddings_of(vision, images, head_matrices(vision), [(1, 2), (2, 0), (1, 2)], units)
    for ours, right in zip(found, expected, strict=True):
        wanted = right / norms if units == "normalized" else right
        assert np.abs(np.asarray(ours) - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_heads_out_of_a_bank_count_once(tmp_path_factory):
    run = small_pass.run(tmp_path_factory.getbasetemp())
    found = bank_head_sum(run.bank, run.matrices, [(2, 1), (0, 3), (2, 1)])
    heads, matrices = np.float64(run.bank.read("heads")), np.float64(run.matrices)
    expected = heads[:, 2, 1] @ matrices[2, 1] + heads[:, 0, 3] @ matrices[0, 3]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.flatnonzero(np.isnan(found).any(1)).tolist() == [3, 11]


def test_nearest_is_by_cosine():
    rng = np.random.default_rng(0)
    images, queries = rng.standard_normal((50, 8)).astype(np.float32), rng.standard_normal((4, 8)).astype(np.float32)
    cosine = (queries @ images.T) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(images, axis=1)
    found = nearest(queries, images * rng.uniform(1, 9, (50, 1)).astype(np.float32), 7)
    assert np.array_equal(found.indices, np.argsort(-cosine, axis=1)[:, :7])
    assert np.allclose(found.similarity, -np.sort(-cosine, axis=1)[:, :7], atol=1e-6)


def test_an_image_is_not_its_own_neighbour():
    images = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    every = np.arange(20)
    assert np.array_equal(nearest(images, images, 1).indices[:, 0], every)
    found = nearest(images, images, 19, exclude=every)
    assert all(sorted(row) == [j for j in every if j != i] for i, row in enumerate(found.indices.tolist()))


def test_precision_and_chance():
    labels = np.asarray([0, 0, 0, 1, 1, 2])
    images = np.eye(6, dtype=np.float32)
    queries, query_labels = images[[0, 3, 5]], labels[[0, 3, 5]]
    found = nearest(queries, images, 2, exclude=np.asarray([0, 3, 5]))
    expected = [(labels[row] == label).mean() for row, label in zip(found.indices, query_labels, strict=True)]
    assert np.allclose(precision(found, labels, query_labels), expected)
    assert np.allclose(chance(labels, query_labels, exclude=True), [2 / 5, 1 / 5, 0])
    assert np.allclose(chance(labels, query_labels), [3 / 6, 2 / 6, 1 / 6])


@pytest.mark.parametrize("block", [1, 5, 8, 22, 23, 256])
def test_mean_precision_is_the_plain_mean_whatever_the_block(block):
    rng = np.random.default_rng(3)
    labels = np.sort(rng.integers(0, 3, 23))  # sorted, so that queries counted twice or left out are of one label
    images = rng.standard_normal((23, 8)).astype(np.float32) + labels[:, None] * np.eye(8, dtype=np.float32)[0]
    unit = images.astype(np.float64) / np.linalg.norm(images.astype(np.float64), axis=1, keepdims=True)
    near = np.argsort(-(unit @ unit.T - 3 * np.eye(23)), axis=1)[:, :4]
    assert abs(mean_precision(images, labels, 4, block=block) - (labels[near] == labels[:, None]).mean()) < 1e-6


def test_what_could_not_be_read_is_neither_answer_nor_query():
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((9, 4)).astype(np.float32), np.array([0, 1, 0, 1, 1, 0, 0, 1, -1])
    images[1], images[4, 2] = np.nan, np.nan
    read = np.array([0, 2, 3, 5, 6, 7, 8])
    found = nearest(images[read], images, 6, exclude=read)
    assert np.isfinite(np.asarray(found.similarity)).all()
    assert all(sorted([*row, own]) == read.tolist() for row, own in zip(found.indices.tolist(), read, strict=True))
    with pytest.raises(ValueError, match="k must be between 1 and 6"):
        nearest(images[read], images, 7, exclude=read)
    with pytest.raises(ValueError, match=r"query 1 is NaN or infinite \(2 in all\)"):
        nearest(images[[0, 1, 4]], images, 2)
    kept = read[:-1]
    alone = mean_precision(images[kept], labels[kept], 2)
    assert mean_precision(images, labels, 2) == pytest.approx(alone, abs=1e-7)
    assert 0 < alone < 1


@pytest.mark.parametrize("k", [0, 6])
def test_bad_k_is_named(k):
    images = np.eye(6, dtype=np.float32)
    with pytest.raises(ValueError, match="k must be between 1 and 5"):
        nearest(images, images, k, exclude=np.arange(6))
