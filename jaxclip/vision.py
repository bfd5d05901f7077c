"""The image tower: one forward pass that returns the embedding and every term it is the sum of."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxclip import ops
from jaxclip.axes import AnyArray, as_array
from jaxclip.blocks import Blocks, Norm, weight
from jaxclip.config import Compute, VisionConfig
from jaxclip.contributions import Constants, Contributions, Detail, Readout, Terms, assemble
from jaxclip.own_terms import on_own_terms
from jaxclip.pooling import CLASS_TOKEN, pool_of
from jaxclip.stream import Changes, stream


class Masks(NamedTuple):
    """Zero-ablations of the forward pass itself; None leaves everything in place.

    `heads` and `mlps` multiply what a head or MLP adds to the residual stream, so 0 removes and 1 keeps it. `tokens` is
    False where a token may be attended to by nobody; under mean pooling such a patch is not pooled either.
    """

    heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None
    mlps: Float[AnyArray, "layer"] | Bool[AnyArray, "layer"] | None = None
    tokens: Bool[AnyArray, "#batch token"] | Bool[AnyArray, "token"] | None = None


IMAGES = "clip.preprocess makes them from pictures of any size; clip.encode_image takes those as they are."


class VisionTransformer(nnx.Module):
    """OpenCLIP's ViT. Calling it returns `embedding, contributions`, and the contributions sum to the embedding.

    The module is a pytree: pass it through `jax.jit`, `jax.vmap` and `jax.grad` as it is.
    """

    def __init__(self, config: VisionConfig, rngs: nnx.Rngs, compute: Compute = Compute()):
        std = config.width**-0.5
        self.config, self.compute = config, compute
        self.class_embedding = weight((config.width,), std, rngs)
        self.positional_embedding = weight((config.n_tokens, config.width), std, rngs)
        n_pixels = 3 * config.patch_size[0] * config.patch_size[1]
        self.patch_embedding = weight((n_pixels, config.width), n_pixels**-0.5, rngs)
        self.ln_pre = Norm(config.width) if config.ln_pre else None
        self.blocks = Blocks(config, rngs)
        self.ln_post = Norm(config.width)
        self.projection = weight((config.width, config.embed_dim), std, rngs)

    @on_own_terms
    def __call__(
        self,
        images: Float[AnyArray, "batch height width channel"] | Any,
        *,
        detail: Detail = "full",
        constants: Constants = "spread",
        heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None,
        mlps: Float[AnyArray, "layer"] | Bool[AnyArray, "layer"] | None = None,
        tokens: Bool[AnyArray, "batch token"] | Bool[AnyArray, "token"] | None = None,
    ) -> tuple[Float[Array, "batch embed"], Contributions]:
        """The embedding and its decomposition: `contributions.total()` equals the embedding.

        Args:
          images: normalised with the checkpoint's own mean and standard deviation, red first (`clip.preprocess`).
          detail: which axes attention contributions keep: "full" (layer, head, token), "head", "token" or "layer". A
            lower detail never builds a higher one, so it costs its own size in memory.
          constants: "spread" as in the paper, or "separate"; see `jaxclip.contributions`.
          heads: multiplies each head's output, for every token: zero-ablation where 0.
          mlps: the same for MLPs.
          tokens: False for tokens nobody may attend to.

        Returns:
          The un-normalised embedding, and its terms in the same units.

        Raises:
          ValueError: images or masks of another shape than the tower's, an unknown detail or convention.

        Source: arXiv:2310.05916, section 3.1, equations 1 to 5.
        """
        images = as_array(images, "images", IMAGES)
        masks = self._check(images, Masks(heads, mlps, tokens), detail, constants)
        return _decompose(self, images, masks, detail=detail, constants=constants)

    @on_own_terms
    def embed(
        self,
        images: Float[AnyArray, "batch height width channel"] | Any,
        *,
        heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None,
        mlps: Float[AnyArray, "layer"] | Bool[AnyArray, "layer"] | None = None,
        tokens: Bool[AnyArray, "batch token"] | Bool[AnyArray, "token"] | None = None,
    ) -> Float[Array, "batch embed"]:
        """The un-normalised embedding alone: the same forward pass, nothing collected. Arguments as for the call."""
        images = as_array(images, "images", IMAGES)
        return _embed(self, images, self._check(images, Masks(heads, mlps, tokens)))

    def map(
        self,
        images: Float[AnyArray, "batch height width channel"] | Any,
        texts: Float[AnyArray, "text embed"],
        *,
        heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None,
        each: bool = False,
        constants: Constants = "spread",
    ) -> Float[Array, "batch token text"] | Float[Array, "batch layer head token text"]:
        """What attention at each token adds to each text's score; see `jaxclip.spatial.text_maps`."""
        from jaxclip.spatial import text_maps  # spatial stands above the towers

        return text_maps(self, images, texts, heads=heads, each=each, constants=constants)[1]

    @on_own_terms
    def readout(self) -> Readout:
        """The final LayerNorm and the projection, in float32."""
        scale, bias, projection = (
            x[...].astype(jnp.float32) for x in (self.ln_post.scale, self.ln_post.bias, self.projection)
        )
        return Readout(scale, bias, projection, self.config.eps)

    def _check(self, images: AnyArray, masks: Masks, detail: str = "full", constants: str = "spread") -> Masks:
        for name, value, choices in (("detail", detail, Detail), ("constants", constants, Constants)):
            if value not in choices.__args__:
                raise ValueError(f"{name} must be one of {', '.join(choices.__args__)}; got {value!r}.")
        expected = (*self.config.image_size, 3)
        if images.ndim != 4 or images.shape[1:] != expected:
            hint = " The channel axis comes last: images.transpose(0, 2, 3, 1)." if images.shape[1:2] == (3,) else ""
            raise ValueError(
                f"images must be [batch, {expected[0]}, {expected[1]}, 3]; got {list(images.shape)}.{hint} {IMAGES}"
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f"images must be normalised floats; got {images.dtype}. clip.preprocess makes them.")
        layers, heads, tokens = self.config.n_layers, self.config.n_heads, self.config.n_tokens
        shapes = ((layers, heads), (layers,), (tokens,))
        for name, mask, shape in zip(Masks._fields, masks, shapes, strict=True):
            batched = name == "tokens" and mask is not None and mask.shape == (len(images), tokens)
            if mask is not None and mask.shape != shape and not batched:
                raise ValueError(f"the mask {name} must have shape {shape}; got {mask.shape}.")
        if masks.tokens is not None:
            masks = masks._replace(tokens=jnp.atleast_2d(masks.tokens).astype(bool))
        return masks


@partial(jax.jit, static_argnames=("detail", "constants"))
def _decompose(
    vision: VisionTransformer, images: AnyArray, masks: Masks, detail: Detail, constants: Constants
) -> tuple[Array, Contributions]:
    readout = vision.readout()
    terms = forward(vision, images, masks, detail, readout.linear(constants))
    return readout.embed(terms.z), assemble(terms, readout, vision.blocks.output(), detail, constants)


@jax.jit
def _embed(vision: VisionTransformer, images: AnyArray, masks: Masks) -> Array:
    return vision.readout().embed(forward(vision, images, masks).z)


def tokens_in(vision: VisionTransformer, images: AnyArray) -> Float[Array, "batch token width"]:
    """The residual stream before the first block: class token and patches, placed, and normalised by ln_pre."""
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
    vision: VisionTransformer,
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
