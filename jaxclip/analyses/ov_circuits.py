"""OV circuits read from weights alone: what a head would write about, whatever it looks at. No image is needed.

A head (layer l, head h) reads token x_t after LayerNorm and adds to the embedding, with sigma_t the LayerNorm's
statistic of that token, sigma the final LayerNorm's and A, B the foldable parts of both,

    sum over tokens of pattern_t / (sigma_t sigma) * x_t @ A @ B  +  bias / sigma
    A = centred(diag(gamma_1) @ W_V),    B = W_O @ G,    bias = (beta_1 @ W_V + b_V) @ B,    G = centred(gamma P)

Both LayerNorms' scales and centring are linear and lie in A and G; only the two sigmas depend on the image. A @ B has
rank head_dim at most, so its singular vectors are few: the k-th reads the direction `inputs[k]` of the residual stream
and writes the direction `outputs[k]` of the joint space, `strengths[k]` times. Texts near an output say what the head
writes about (`jaxclip.analyses.directions`). The identity is that of constants "separate" (see
`jaxclip.model.contributions`).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxclip.numerics.arrays import by_shapes
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.numerics.precision import finite, in_double, one_after_another


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Circuits:
    """Singular value decompositions of heads' OV circuits, strongest first; a pytree whose leading axes stack.

    inputsᵀ @ diag(strengths) @ outputs is A @ B. Both sets of directions are orthonormal; a pair of them may change
    sign together, and here the largest entry of an output is positive. `bias` is what a head adds whatever it sees,
    before the division by sigma.
    """

    inputs: Float[Array, "*stack rank width"]
    strengths: Float[Array, "*stack rank"]
    outputs: Float[Array, "*stack rank embed"]
    bias: Float[Array, "*stack embed"]

    __repr__ = by_shapes

    @property
    @on_own_terms
    def share(self) -> Float[Array, "*stack rank"]:
        """Part of the circuit's squared Frobenius norm in each pair; they sum to one, or to zero for a dead head."""
        squares = jnp.square(self.strengths)
        total = squares.sum(-1, keepdims=True)
        return jnp.where(total > 0, squares / jnp.where(total > 0, total, 1), 0)


@on_own_terms
def ov_circuits(vision: Any) -> Circuits:
    """Every head's OV circuit, stacked [layer, head], in float64 whatever the weights' dtype.

    >>> jaxclip.ov_circuits(jaxclip.load("scenes").vision).outputs.shape  # [layer head pair embed]
    (6, 4, 32, 128)

    Args:
      vision: the image tower.

    Raises:
      ValueError: weights hold NaN or infinity (where values are known: not under jit).
    """
    blocks, readout = vision.blocks, vision.readout()
    kernel, _ = blocks.output()
    weights = (
        blocks.attn_in.kernel[:, :, 2], blocks.attn_in.bias[:, 2], blocks.ln_1.scale[...], blocks.ln_1.bias[...],
        kernel, readout.scale, readout.projection,
    )  # fmt: skip
    if not finite(weights):
        raise ValueError("the image tower's weights hold NaN or infinite values; convert the checkpoint again.")
    return in_double(partial(_circuits), *weights)


def _circuits(
    values: Array, value_bias: Array, scale: Array, bias: Array, kernel: Array, post: Array, projection: Array
) -> Circuits:
    dtype = jnp.result_type(float)
    values, value_bias, scale, bias, kernel, post, projection = (
        x.astype(dtype) for x in (values, value_bias, scale, bias, kernel, post, projection)
    )
    g = post[:, None] * projection
    g = g - g.mean(0)

    def layer(values: Array, value_bias: Array, scale: Array, bias: Array, kernel: Array) -> Circuits:
        head = partial(_circuit, scale=scale, bias=bias, g=g)
        return one_after_another(head, values.swapaxes(0, 1), value_bias, kernel)

    return one_after_another(layer, values, value_bias, scale, bias, kernel)


def _circuit(values: Array, value_bias: Array, kernel: Array, *, scale: Array, bias: Array, g: Array) -> Circuits:
    """One head: values [width, head_dim], kernel [head_dim, width], g [width, embed]."""
    read = scale[:, None] * values
    read = read - read.mean(0)
    write = _dot(kernel, g)
    # Through two thin QR decompositions: the singular values of [width, embed] are those of [head_dim, head_dim].
    frame_in, corner_in = jnp.linalg.qr(read)
    frame_out, corner_out = jnp.linalg.qr(write.T)
    left, strengths, right = jnp.linalg.svd(_dot(corner_in, corner_out.T), full_matrices=False)
    inputs, outputs = _dot(frame_in, left).T, _dot(right, frame_out.T)
    largest = jnp.take_along_axis(outputs, jnp.abs(outputs).argmax(-1)[:, None], -1)
    sign = jnp.where(largest < 0, -1, 1)
    return Circuits(inputs * sign, strengths, outputs * sign, _dot(_dot(bias, values) + value_bias, write))


def _dot(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
