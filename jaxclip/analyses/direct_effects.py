"""Direct effects: what each layer, head, MLP and patch of one image says about given texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxclip.axes import AnyArray
from jaxclip.clip import Clip
from jaxclip.model.contributions import Contributions
from jaxclip.model.nonfinite import check_images
from jaxclip.model.pooling import CLASS_TOKEN
from jaxclip.model.token_grid import TokenGrid
from jaxclip.numerics.arrays import by_shapes
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.zeroshot import contrast, text_embeddings


@dataclass(frozen=True)
class Effects:
    """One image's inner product with directions, term by term; everything is in units of cosine similarity.

    `total` is init + heads summed over layers and heads + mlp summed over layers: of unit texts the cosine similarity,
    of texts minus their mean what is left of it. `tokens` holds the attention part again, by place: token 0 is the
    class token, the others are patches, row by row. `embedding` is the image's, of unit norm.
    """

    total: Float[np.ndarray, "text"]
    init: Float[np.ndarray, "text"]
    heads: Float[np.ndarray, "layer head text"]
    mlp: Float[np.ndarray, "layer text"]
    tokens: Float[np.ndarray, "token text"]
    embedding: Float[np.ndarray, "embed"]
    grid: tuple[int, int]

    __repr__ = by_shapes

    def map(self) -> Float[np.ndarray, "text row column"]:
        """Patches where they lie in the image."""
        return TokenGrid(len(self.tokens) - prod(self.grid), self.grid).to_grid(self.tokens.T)

    def strongest(self, text: int, n: int = 5) -> list[tuple[int, int, float]]:
        """(layer, head, effect) of the heads with the largest effect on a text, either sign, largest first."""
        effects = self.heads[:, :, text]
        order = np.argsort(-np.abs(effects), axis=None)[:n]
        places = zip(*np.unravel_index(order, effects.shape), strict=True)
        return [(int(layer), int(head), float(effects[layer, head])) for layer, head in places]

    @on_own_terms
    def to_dict(self, texts: Sequence[str], embeddings: Float[AnyArray, "text embed"]) -> dict[str, Any]:
        """Plain JSON types, one entry a text.

        Args:
          texts: as they are shown.
          embeddings: theirs, of unit norm, whatever the directions were.

        Returns:
          `similarity` and `contrast` (see `similarities`), then the terms, which sum to one of the two: `init`,
          `attention_by_layer`, `mlp_by_layer`, `heads` (by layer and head), `strongest_heads`; and attention again, by
          place: `map` and `class_token`.
        """
        cosines = similarities(self.embedding, embeddings)
        return {
            text: {
                **cosines[i],
                "init": float(self.init[i]),
                "attention_by_layer": self.heads[:, :, i].sum(1).tolist(),
                "mlp_by_layer": self.mlp[:, i].tolist(),
                "heads": self.heads[:, :, i].tolist(),
                "strongest_heads": [
                    {"layer": layer, "head": head, "effect": effect} for layer, head, effect in self.strongest(i)
                ],
                "map": self.map()[i].tolist(),
                "class_token": float(self.tokens[CLASS_TOKEN, i]),
            }
            for i, text in enumerate(texts)
        }


@on_own_terms
def similarities(embedding: Float[AnyArray, "embed"], texts: Float[AnyArray, "text embed"]) -> list[dict[str, float]]:
    """What an image has to do with each of some texts as a whole, both of unit norm.

    Returns:
      For each text its `similarity`, the cosine, and its `contrast`: the similarity minus the mean of all texts'.
    """
    cosines = np.asarray(texts, np.float64) @ np.asarray(embedding, np.float64)
    return [{"similarity": float(x), "contrast": float(x - cosines.mean())} for x in cosines]


@on_own_terms
def text_directions(clip: Clip, texts: Sequence[str], *, relative: bool) -> Float[Array, "text embed"]:
    """Unit text embeddings; if `relative`, minus their mean, so that what all texts share drops out.

    Raises:
      ValueError: relative to one text alone nothing is left; the tower gives NaN.
    """
    if relative and len(texts) < 2:
        raise ValueError("relative effects compare texts with each other; pass two or more, or relative=False.")
    embeddings = text_embeddings(clip, texts)
    return contrast(embeddings) if relative else embeddings


@on_own_terms
def direct_effects(
    clip: Clip,
    image: Float[AnyArray, "height width channel"],
    directions: Float[AnyArray, "text embed"],
    name: str = "the image",
) -> Effects:
    """Every term of one image's unit embedding, projected on texts.

    Args:
      image: as `clip.preprocess` makes it.
      directions: unit text embeddings, or differences of them.
      name: of the image, for errors.

    Raises:
      ValueError: the tower gives NaN, naming the layer.

    Source: arXiv:2310.05916, sections 3.2 and 5.
    """
    heads, tokens, total, unit = _effects(clip.vision, jnp.asarray(image), jnp.asarray(directions))
    check_images((heads, total), clip.vision, image[None], [name])
    parts = (np.asarray(part[0]) for part in (total, heads.init, heads.attn, heads.mlp, tokens, unit))
    total, init, attn, mlp, places, embedding = parts
    return Effects(total, init, attn, mlp, places, embedding, clip.config.vision.grid)


@jax.jit
def _effects(vision: Any, image: Array, directions: Array) -> tuple[Contributions, Array, Array, Array]:
    embedding, contributions = vision(image[None], detail="full")
    unit = embedding / jnp.linalg.norm(embedding, axis=-1, keepdims=True)
    texts = contributions.normalized().project(directions)
    total = jnp.einsum("be,se->bs", unit, directions, precision="highest")
    return texts.reduce("head"), texts.reduce("token").attn, total, unit
