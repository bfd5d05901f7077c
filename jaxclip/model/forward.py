"""The image tower's forward pass, once, with what it leaves on the way: every term of the pooled residual stream.

One `keep` function a detail says what of a layer's attention is stored; the compiler drops the rest.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxclip.axes import AnyArray
from jaxclip.model.contributions import Detail, Terms
from jaxclip.model.pooling import CLASS_TOKEN, pool_of
from jaxclip.model.stream import Changes, stream
from jaxclip.numerics import ops


class Masks(NamedTuple):
    """Zero-ablations of the forward pass itself; None leaves everything in place.

    `heads` and `mlps` multiply what a head or MLP adds to the residual stream, so 0 removes and 1 keeps it. `tokens` is
    False where a token may be attended to by nobody; under mean pooling such a patch is not pooled either.
    """

    heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None
    mlps: Float[AnyArray, "layer"] | Bool[AnyArray, "layer"] | None = None
    tokens: Bool[AnyArray, "#batch token"] | Bool[AnyArray, "token"] | None = None


def tokens_in(vision: Any, images: AnyArray) -> Float[Array, "batch token width"]:
    """Compute the residual stream before the first block: class token and patches, placed, and normalised by ln_pre."""
    config, compute = vision.config, vision.compute
    patches = ops.patchify(jnp.asarray(images).astype(compute.dtype), config.patch_size)
    kernel = vision.patch_embedding[...].astype(compute.dtype)
    patches = jnp.einsum("btp,pw->btw", patches, kernel, precision=compute.precision)
    first = vision.class_embedding[...].astype(compute.dtype)
    first = jnp.broadcast_to(first, (len(images), config.n_prefix, config.width))
    x = jnp.concatenate([first, patches], axis=1) + vision.positional_embedding[...].astype(compute.dtype)
    if vision.ln_pre is None:
        return x
    return ops.layer_norm(x, vision.ln_pre.scale[...], vision.ln_pre.bias[...], config.eps).astype(compute.dtype)


class _Attention(NamedTuple):
    """What one layer's attention adds to z: pattern times values, and their sums over tokens, before W_O.

    `g` and `weights` are `forward`'s `g` and its `chosen` of this layer.
    """

    pattern: Float[Array, "batch head token"]
    v: Float[Array, "batch head token head_dim"]
    vectors: Float[Array, "batch head head_dim"]
    kernel: Float[Array, "head head_dim width"]
    g: Float[Array, "width embed"] | None
    weights: Float[Array, "head"] | None

    def by_token(self) -> Float[Array, "batch head token head_dim"]:
        return self.pattern[..., None] * self.v


def _keep_nothing(total: Array | None, layer: _Attention) -> tuple[Array | None, None]:
    return total, None


def _keep_layer(total: Array | None, layer: _Attention) -> tuple[Array | None, Array]:
    return total, layer.vectors


def _keep_head(total: Array | None, layer: _Attention) -> tuple[Array | None, tuple[Array, Array]]:
    """Keep the class token's part of each head as well, which it takes from itself."""
    return total, (layer.vectors, layer.pattern[:, :, CLASS_TOKEN, None] * layer.v[:, :, CLASS_TOKEN])


def _keep_full(total: Array | None, layer: _Attention) -> tuple[Array | None, Array]:
    return total, layer.by_token()


def _keep_token(total: Array | None, layer: _Attention) -> tuple[Array | None, None]:
    """Sum over heads and layers at once, in the residual stream or, with g, in the joint space."""
    if total is None:
        raise ValueError('detail "token" sums into `total`, which is missing.')
    kept = layer.by_token()
    kept = kept if layer.weights is None else kept * layer.weights[:, None, None]
    spec, operands = ("bhtc,hcw->btw", ()) if layer.g is None else ("bhtc,hcw,we->bte", (layer.g,))
    return total + jnp.einsum(spec, kept, layer.kernel, *operands, precision="highest"), None


_KEEP = {
    None: _keep_nothing, "layer": _keep_layer, "head": _keep_head, "full": _keep_full, "token": _keep_token
}  # fmt: skip


def forward(
    vision: Any,
    images: AnyArray,
    masks: Masks = Masks(),
    detail: Detail | None = None,
    g: Float[Array, "width embed"] | None = None,
    chosen: Float[Array, "layer head"] | None = None,
) -> Terms:
    """Run the blocks once, and keep the terms of z, which the final LayerNorm will read.

    Beside the residual stream of all tokens the pass carries z in float32: the sum of the terms by construction,
    whatever dtype the stream is in.

    Args:
      detail: which attention terms to keep, none by default.
      g: the readout's linear part, which "token" multiplies by inside the scan; without it "token" keeps the width of
        the residual stream.
      chosen: weighs the heads in what "token" sums, all of them by default; the pass itself is left as it is.
    """
    config, compute = vision.config, vision.compute
    pool = pool_of(config, compute.precision, masks.tokens)
    visible = None if masks.tokens is None else jnp.asarray(masks.tokens)[:, None, :]

    def keep(carry, taps, block, beside):
        z, total = carry
        kernel, bias, heads, weights = beside
        pattern = pool.pattern(taps.q, taps.k, visible)
        pattern = pattern if heads is None else pattern * heads[:, None]
        # Here and below true float32, so that z is the sum of the terms however the towers calculate.
        v = taps.v.astype(jnp.float32)
        vectors = jnp.einsum("bht,bhtc->bhc", pattern, v, precision="highest")
        z = z + jnp.einsum("bhc,hcw->bw", vectors, kernel, precision="highest") + bias
        mlp = pool.vector(taps.added)
        total, kept = _KEEP[detail](total, _Attention(pattern, v, vectors, kernel, g, weights))
        return (z + mlp, total), (kept, None if detail is None else mlp)

    x = tokens_in(vision, images)
    init = pool.vector(x)
    total = jnp.zeros((*x.shape[:2], config.width if g is None else g.shape[-1])) if detail == "token" else None
    _, (z, total), (kept, mlp) = stream(
        vision.blocks, x, config,
        # Pooled patches need the pattern of every row, which is then at hand to mix with.
        compute if pool.weights is None else replace(compute, attention="plain"),
        keep, (init, total), visible=visible, changes=Changes(masks.heads, masks.mlps),
        beside=(*vision.blocks.output(), masks.heads, chosen),
    )  # fmt: skip
    attn, first = kept if detail == "head" else (total if detail == "token" else kept, None)
    return Terms(z=z, init=init, attn=attn, mlp=mlp, first=first)
