"""The transformer blocks of either tower, weights stacked on axis 0 and scanned: depth costs nothing to compile.

A block adds to the residual stream twice, attention and then MLP, each after a LayerNorm of its own:

    x = x + LayerScale(attention(LayerNorm(x)));  x = x + LayerScale(MLP(LayerNorm(x)))
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxclip.config import Activation, Compute
from jaxclip.model import attention
from jaxclip.model.modules import Affine, Norm, Params
from jaxclip.numerics import ops


class Blocks(nnx.Module):
    """The weights of all blocks of a tower, layer first."""

    ln_1: Norm
    attn_in: Affine
    attn_out: Affine
    ls_1: nnx.Param | None
    ln_2: Norm
    mlp_in: Affine
    mlp_out: Affine
    ls_2: nnx.Param | None

    def __init__(self, params: Params):
        self.ln_1 = Norm(params["ln_1"])
        self.attn_in = Affine(params["attn_in"])
        self.attn_out = Affine(params["attn_out"])
        self.ls_1 = params.get("ls_1")
        self.ln_2 = Norm(params["ln_2"])
        self.mlp_in = Affine(params["mlp_in"])
        self.mlp_out = Affine(params["mlp_out"])
        self.ls_2 = params.get("ls_2")

    def output(self) -> tuple[Float[Array, "layer head head_dim width"], Float[Array, "layer width"]]:
        """Return W_O and b_O of every layer in float32, LayerScale multiplied in: attention adds values @ W_O + b_O."""
        kernel, bias = self.attn_out.kernel[...].astype(jnp.float32), self.attn_out.bias[...].astype(jnp.float32)
        if self.ls_1 is None:
            return kernel, bias
        gamma = self.ls_1[...].astype(jnp.float32)
        return kernel * gamma[:, None, None, :], bias * gamma


def cast(tree: Any, compute: Compute) -> Any:
    """Cast weights to the dtype that they are multiplied in."""
    return jax.tree.map(lambda x: x.astype(compute.dtype), tree)


def project_in(
    block: Blocks, x: Float[Array, "batch token width"], eps: float, compute: Compute
) -> tuple[Float[Array, "batch head token head_dim"], ...]:
    """Compute queries, keys and values of one block; value biases included."""
    y = ops.layer_norm(x, block.ln_1.scale[...], block.ln_1.bias[...], eps).astype(compute.dtype)
    kernel, bias = cast((block.attn_in.kernel[...], block.attn_in.bias[...]), compute)
    # In the order of the product first, so that neither weights nor tokens are turned for it; then heads before tokens:
    # batched products over leading axes are several times faster on CPU.
    qkv = jnp.einsum("btw,wxhc->btxhc", y, kernel, precision=compute.precision) + bias
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)
    return q, k, v


def project_out(
    block: Blocks, heads: Float[Array, "batch head token head_dim"], compute: Compute
) -> Float[Array, "batch token width"]:
    """Compute what attention adds to the residual stream, from the mixed values of its heads."""
    kernel, bias = cast((block.attn_out.kernel[...], block.attn_out.bias[...]), compute)
    return scale(jnp.einsum("bhtc,hcw->btw", heads, kernel, precision=compute.precision) + bias, block.ls_1)


def mlp(
    block: Blocks, x: Float[Array, "batch token width"], activation: Activation, eps: float, compute: Compute
) -> tuple[Float[Array, "batch token neuron"], Float[Array, "batch token width"]]:
    """Compute the MLP's neurons after the activation, and what they add to the residual stream."""
    y = ops.layer_norm(x, block.ln_2.scale[...], block.ln_2.bias[...], eps).astype(compute.dtype)
    into, out = cast((block.mlp_in, block.mlp_out), compute)
    hidden = jnp.einsum("btw,wm->btm", y, into.kernel[...], precision=compute.precision) + into.bias[...]
    hidden = ops.activate(hidden, activation)
    added = jnp.einsum("btm,mw->btw", hidden, out.kernel[...], precision=compute.precision) + out.bias[...]
    return hidden, scale(added, block.ls_2)


def scale(x: Float[Array, "batch token width"], gamma: nnx.Param | None) -> Float[Array, "batch token width"]:
    return x if gamma is None else x * gamma[...].astype(x.dtype)


def attend(
    q: Float[Array, "batch head query head_dim"],
    k: Float[Array, "batch head token head_dim"],
    v: Float[Array, "batch head token head_dim"],
    mask: Bool[Array, "#batch #query token"] | None,
    compute: Compute,
) -> Float[Array, "batch head query head_dim"]:
    """Mix values by the pattern, for every query; the pattern itself need not become an array."""
    if mask is None and attention.applies(compute, q.shape[-1]):
        return attention.attend(q, k, v, partial(mix, mask=None, compute=compute))
    return mix(q, k, v, mask, compute)


def mix(
    q: Float[Array, "batch head query head_dim"],
    k: Float[Array, "batch head token head_dim"],
    v: Float[Array, "batch head token head_dim"],
    mask: Bool[Array, "#batch #query token"] | None,
    compute: Compute,
    nudge: Float[Array, "batch head query token"] | None = None,
) -> Float[Array, "batch head query head_dim"]:
    """Mix values by the pattern as an array, to which a `nudge` is added after the softmax."""
    pattern = ops.pattern(q, k, mask, compute.precision)
    pattern = pattern if nudge is None else pattern + nudge
    return jnp.einsum("bhqt,bhtc->bhqc", pattern.astype(v.dtype), v, precision=compute.precision)
