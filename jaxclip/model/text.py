"""The text tower: tokens in, one embedding a text out. Nothing is decomposed here."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxclip.axes import AnyArray, as_array
from jaxclip.config import Compute, TextConfig
from jaxclip.model.blocks import Blocks
from jaxclip.model.modules import Affine, Norm, fresh
from jaxclip.model.params import text_leaves, text_sizes
from jaxclip.model.stream import stream
from jaxclip.numerics import ops
from jaxclip.numerics.own_terms import on_own_terms

TOKENS = "clip.tokenize makes them from strings; clip.encode_text takes strings too."


class TextTransformer(nnx.Module):
    """OpenCLIP's text transformer. Calling it returns un-normalised text embeddings."""

    def __init__(self, config: TextConfig, rngs: nnx.Rngs, compute: Compute = Compute()):
        self.config, self.compute = config, compute
        params = fresh(text_leaves(config), text_sizes(config), rngs)
        self.token_embedding = params["token_embedding"]
        self.positional_embedding = params["positional_embedding"]
        self.blocks = Blocks(params["blocks"])
        self.ln_final = Norm(params["ln_final"])
        self.projection = None if config.projection == "none" else Affine(params["projection"])

    @on_own_terms
    def __call__(self, tokens: Int[AnyArray, "batch position"] | Any) -> Float[Array, "batch embed"]:
        """Embed texts in the joint space, un-normalised.

        Args:
          tokens: ids from the checkpoint's own tokenizer, at most `config.context` of them a text, padded with
            `config.pad_id`.

        Raises:
          ValueError: not a batch of token rows, or rows longer than the context.
        """
        tokens = as_array(tokens, "tokens", TOKENS)
        if tokens.ndim != 2 or tokens.shape[1] > self.config.context:
            raise ValueError(
                f"tokens must be [batch, at most {self.config.context}]; got {list(tokens.shape)}. {TOKENS}"
            )
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(f"tokens must be integers; got {tokens.dtype}.")
        return _embed(self, tokens)


@jax.jit
def _embed(text: TextTransformer, tokens: Array) -> Array:
    config, compute = text.config, text.compute
    x, _, _ = stream(text.blocks, tokens_in(text, tokens), config, compute, visible=visible(config, tokens))
    pooled = x[jnp.arange(len(x)), _position(config, tokens)]
    pooled = ops.layer_norm(pooled, text.ln_final.scale[...], text.ln_final.bias[...], config.eps)
    if text.projection is None:
        return pooled
    embedding = jnp.matmul(pooled, text.projection.kernel[...].astype(jnp.float32), precision=compute.precision)
    return embedding if text.projection.bias is None else embedding + text.projection.bias[...]


def tokens_in(text: TextTransformer, tokens: Int[Array, "batch position"]) -> Float[Array, "batch position width"]:
    """Compute the residual stream that enters layer 0."""
    x = text.token_embedding[...].astype(text.compute.dtype)[tokens]
    return x + text.positional_embedding[: tokens.shape[1]].astype(text.compute.dtype)


def visible(config: TextConfig, tokens: Int[Array, "batch position"]) -> Bool[Array, "#batch #query position"] | None:
    """Mark where a position may look: back only if causal, never at padding if that is hidden."""
    causal = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))[None] if config.causal else None
    if not config.pad_mask:
        return causal
    real = (tokens != config.pad_id)[:, None, :]
    return real if causal is None else causal & real


def _position(config: TextConfig, tokens: Int[Array, "batch position"]) -> Int[Array, "batch"]:
    """Find the position that stands for the whole text."""
    match config.pool:
        case "argmax":
            return tokens.argmax(-1)
        case "eos":
            return (tokens == config.eos_id).argmax(-1)
        case "last":
            return jnp.full(len(tokens), tokens.shape[1] - 1)
        case "first":
            return jnp.zeros(len(tokens), int)
