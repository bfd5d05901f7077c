"""The image tower: one forward pass that returns the embedding and every term it is the sum of."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxclip.axes import AnyArray, as_array
from jaxclip.config import Compute, VisionConfig
from jaxclip.model.blocks import Blocks
from jaxclip.model.contributions import Constants, Contributions, Detail, Readout, assemble
from jaxclip.model.forward import Masks, forward
from jaxclip.model.modules import Norm, fresh
from jaxclip.model.params import vision_leaves, vision_sizes
from jaxclip.model.text_maps import text_maps
from jaxclip.numerics.own_terms import on_own_terms

IMAGES = "clip.preprocess makes them from pictures of any size; clip.encode_image takes those as they are."


class VisionTransformer(nnx.Module):
    """OpenCLIP's ViT. Calling it returns `embedding, contributions`, and the contributions sum to the embedding.

    The module is a pytree: pass it through `jax.jit`, `jax.vmap` and `jax.grad` as it is.
    """

    def __init__(self, config: VisionConfig, rngs: nnx.Rngs, compute: Compute = Compute()):
        self.config, self.compute = config, compute
        params = fresh(vision_leaves(config), vision_sizes(config), rngs)
        self.class_embedding = params["class_embedding"]
        self.positional_embedding = params["positional_embedding"]
        self.patch_embedding = params["patch_embedding"]
        self.ln_pre = Norm(params["ln_pre"]) if config.ln_pre else None
        self.blocks = Blocks(params["blocks"])
        self.ln_post = Norm(params["ln_post"])
        self.projection = params["projection"]

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
        """Compute the embedding and its decomposition: `contributions.total()` equals the embedding.

        Args:
          images: normalised with the checkpoint's own mean and standard deviation, red first (`clip.preprocess`).
          detail: which axes attention contributions keep: "full" (layer, head, token), "head", "token" or "layer". A
            lower detail never builds a higher one, so it costs its own size in memory.
          constants: "spread" as in the paper, or "separate"; see `jaxclip.model.contributions`.
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
        """Compute the un-normalised embedding alone: the same pass, nothing collected. Arguments as for the call."""
        images = as_array(images, "images", IMAGES)
        return _embed(self, images, self._check(images, Masks(heads, mlps, tokens)))

    @on_own_terms
    def map(
        self,
        images: Float[AnyArray, "batch height width channel"] | Any,
        texts: Float[AnyArray, "text embed"],
        *,
        heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None,
        each: bool = False,
        constants: Constants = "spread",
    ) -> Float[Array, "batch token text"] | Float[Array, "batch layer head token text"]:
        """Map what attention at each token adds to each text's score; see `jaxclip.model.text_maps.text_maps`."""
        return text_maps(self, images, texts, heads=heads, each=each, constants=constants)[1]

    @on_own_terms
    def readout(self) -> Readout:
        """Return the final LayerNorm and the projection, in float32."""
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
