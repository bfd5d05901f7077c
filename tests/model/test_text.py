"""The text tower's pools and masks: which token stands for the text, and where it may look."""

import jax.numpy as jnp
import numpy as np
import pytest
import towers


def tokens(seed=0):
    rng = np.random.default_rng(seed)
    rows = np.zeros((3, 12), np.int32)
    for row, length in zip(rows, (4, 7, 12), strict=True):
        row[:length] = rng.integers(3, 48, length)
        row[length - 1] = 49
    return rows


def test_a_causal_text_does_not_depend_on_what_follows_its_end():
    text = towers.text()
    changed = tokens()
    changed[0, 4:] = 7
    np.testing.assert_allclose(text(changed)[0], text(tokens())[0], rtol=1e-6)
    assert np.abs(towers.text(causal=False)(changed)[0] - towers.text(causal=False)(tokens())[0]).max() > 1e-3


def test_hidden_padding_changes_nothing():
    text = towers.text(causal=False, pad_mask=True)
    np.testing.assert_allclose(text(tokens()[:1, :4]), text(tokens()[:1]), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("pool", "position"), [("argmax", 3), ("eos", 3), ("last", 11), ("first", 0)])
def test_a_causal_text_answers_to_nothing_behind_its_pooled_position(pool, position):
    text = towers.text(pool=pool, eos_id=49)
    nudge = np.random.default_rng(0).standard_normal(32)

    def change(at):
        moved = towers.text(pool=pool, eos_id=49)
        moved.positional_embedding[...] = moved.positional_embedding[...].at[at].add(nudge)
        return np.abs(np.asarray(moved(tokens()[:1]) - text(tokens()[:1]))).max()

    changes = np.array([change(at) for at in range(12)])
    assert (changes[: position + 1] > 1e-3).all()
    assert (changes[position + 1 :] == 0).all()


def test_projection_bias_and_no_projection():
    text = towers.text(projection="linear_bias")
    plain = np.asarray(text(tokens()))
    text.projection.bias[...] = text.projection.bias[...] + 2.0
    np.testing.assert_allclose(np.asarray(text(tokens())) - plain, 2.0, rtol=1e-5)
    assert towers.text(projection="none", embed_dim=32)(tokens()).shape == (3, 32)


def test_bad_tokens_say_what_to_do(unchecked):
    text = towers.text()
    with pytest.raises(ValueError, match=r"at most 12\]; got \[3, 13\]"):
        text(jnp.zeros((3, 13), int))
    with pytest.raises(ValueError, match="must be integers; got float32"):
        text(jnp.zeros((3, 12)))
