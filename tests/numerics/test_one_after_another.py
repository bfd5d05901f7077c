"""Matrices are decomposed one at a time, so that no two stacks of them wait for each other's threads."""

import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import towers

from jaxclip.analyses import (
    compare_heads,
    directions,
    ov_circuits,
    textspan,
)
from jaxclip.numerics.moments import Moments
from jaxclip.numerics.precision import one_after_another

RNG = np.random.default_rng(0)
SAMPLES = jnp.asarray(RNG.standard_normal((2, 3, 20, 6)), jnp.float32)
BASIS = jnp.asarray(RNG.standard_normal((2, 3, 6, 9)), jnp.float32)


def stacks(program, *arguments):
    """Kinds of the arrays that each LAPACK call of a lowered program is given, those of more than one matrix."""
    text = jax.jit(lambda: program(*arguments)).lower().as_text()
    calls = re.findall(r"custom_call @lapack_\w+\(.*?\).*? : \(([^)]*)\) ->", text)
    assert calls, "the program decomposes nothing"
    kinds = [kind for call in calls for kind in re.findall(r"tensor<([\dx]+)x\w+>", call)]
    return [kind for kind in kinds if len(kind.split("x")) > 2 and kind.split("x")[0] != "1"]


def heads():
    return replace(jax.vmap(jax.vmap(Moments.of))(SAMPLES), basis=BASIS)


def neurons():
    return jax.tree.map(lambda x: x[0], heads())


def folded():
    blocks, readout = towers.vision().blocks, towers.vision().readout()
    return (
        blocks.attn_in.kernel[:, :, 2], blocks.attn_in.bias[:, 2], blocks.ln_1.scale[...], blocks.ln_1.bias[...],
        blocks.output()[0], readout.scale, readout.projection,
    )  # fmt: skip


PROGRAMS = {
    "circuits": lambda: (ov_circuits._circuits, *folded()),
    "similarity": lambda: (partial(compare_heads._similarity, pairs=True), heads(), heads(), *(jnp.eye(9),) * 3),
    "overlap": lambda: (partial(compare_heads._overlap, rank=2), heads(), heads()),
    "principal": lambda: (directions._principal, neurons()),
    "textspan": lambda: (partial(textspan.head_bases, steps=2), heads(), BASIS[0, 0]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_decomposes_a_stack(name):
    program, *arguments = PROGRAMS[name]()
    assert stacks(program, *arguments) == []


def test_a_stack_would_be_seen():
    assert "6x20x6" in stacks(jnp.linalg.qr, SAMPLES.reshape(6, 20, 6))


def test_one_after_another_is_vmap():
    samples = SAMPLES.reshape(6, 20, 6)

    def product(a, b):
        return {"both": a.T @ b, "one": a.sum()}

    found, expected = one_after_another(product, samples, -samples), jax.vmap(product)(samples, -samples)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6)
