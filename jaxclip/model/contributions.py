"""The embedding as a sum: the pytree that holds its terms, where the constants go, and how to reduce it.

With G = diag(gamma) @ P, gamma and beta the final LayerNorm's weights and P the projection,

    embedding = (z @ G) / sigma + k,      k = beta @ P - (mu / sigma) * (gamma @ P),      z = init + attn + mlp

so a term x of z contributes x @ G / sigma, and k and the attention output biases are what `constants` places:

* "spread" (the paper and its released code): each of the 2 * layers + 1 components gets an equal share of k; inside an
  attention layer that share, and the layer's bias, are split evenly over its heads and tokens. Nothing is left over.
* "separate": every term is centred by itself, (x - mean(x)) @ G / sigma, and `constant` holds beta @ P and the centred
  biases.

Source: arXiv:2310.05916, section 3.1 and appendix A.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxclip.axes import AnyArray, as_array
from jaxclip.numerics import ops
from jaxclip.numerics.own_terms import on_own_terms

Detail = Literal["full", "head", "token", "layer"]
Constants = Literal["spread", "separate"]

AXES: dict[str, tuple[str, ...]] = {
    "full": ("layer", "head", "token"),
    "head": ("layer", "head"),
    "token": ("token",),
    "layer": ("layer",),
}
"""Axes of `attn` between batch and embed, by detail."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Contributions:
    """Additive terms of the image embedding, in units of the un-normalised embedding: `total()` is the embedding.

    `attn` has the axes of `detail` between batch and embed: layer head token ("full"), layer head ("head"), token
    ("token") or layer ("layer"). `constant` is zero when `constants` is "spread". A batch axis may be missing (means
    over a data set) and the last axis may be texts instead of embed (after `project`).
    """

    init: Float[Array, "*batch embed"]
    attn: Float[Array, "*terms embed"]
    mlp: Float[Array, "*batch layer embed"]
    constant: Float[Array, "*batch embed"]
    detail: Detail = field(metadata={"static": True})
    constants: Constants = field(metadata={"static": True})

    @on_own_terms
    def total(self) -> Float[Array, "*batch embed"]:
        """Sum every term, to the embedding."""
        return self.init + self.attn_total() + self.mlp.sum(-2) + self.constant

    @on_own_terms
    def attn_total(self) -> Float[Array, "*batch embed"]:
        """Sum all attention layers, heads and tokens."""
        # Axis by axis, innermost first: one long float32 sum over 100,000 terms would lose a digit.
        total = self.attn
        for _ in AXES[self.detail]:
            total = total.sum(-2)
        return total

    @on_own_terms
    def check(self, embedding: Float[AnyArray, "*batch embed"]) -> float:
        """Measure how exact the sum is: the largest error of `total()`, relative to its image's embedding's length.

        About 1e-7 in float32, and in bfloat16 too: terms are summed in float32 whatever the towers calculate in.
        """
        wanted = np.asarray(embedding, np.float64)
        error = np.abs(np.asarray(self.total(), np.float64) - wanted).max(-1)
        return float((error / np.linalg.norm(wanted, axis=-1)).max())

    @on_own_terms
    def norm(self) -> Float[Array, "*batch"]:
        """Return the Euclidean norm of the embedding; of `total()`, so it needs the embed axis."""
        return jnp.linalg.norm(self.total(), axis=-1)

    @on_own_terms
    def normalized(self) -> "Contributions":
        """Divide every term by the embedding's norm, as in the paper's released code: `total()` has norm 1."""
        norm = self.norm()

        def divide(x: Float[Array, "*terms embed"]) -> Float[Array, "*terms embed"]:
            return x / norm.reshape(norm.shape + (1,) * (x.ndim - norm.ndim))

        return self._map(divide)

    @on_own_terms
    def reduce(self, detail: Detail) -> "Contributions":
        """Reduce to the same sum in less detail: "full" reduces to any other, "head" to "layer".

        Raises:
          ValueError: `detail` needs axes that were already summed.
        """
        here, wanted = AXES[self.detail], AXES[_choice("detail", detail, Detail)]
        if not set(wanted) <= set(here):
            raise ValueError(
                f"detail {self.detail!r} cannot become {detail!r}: attn has axes {here}, {wanted} are needed. "
                f"Ask the vision tower for detail={detail!r} or 'full'."
            )
        attn = self.attn
        for place, name in enumerate(here):
            if name not in wanted:
                attn = attn.sum(place - len(here) - 1)
        return replace(self, attn=attn, detail=detail)

    @on_own_terms
    def project(self, directions: Float[AnyArray, "text embed"] | Float[AnyArray, "embed"] | Any) -> "Contributions":
        """Project every term on every text: the last axis becomes text, and `total()` is embedding @ textsᵀ.

        Args:
          directions: text embeddings or any directions in the joint space; their scale is kept. One alone counts as a
            list of one.

        Raises:
          ValueError: directions of another size than the embedding.
        """
        hint = "clip.encode_text makes them from strings."
        directions = as_array(directions, "directions", hint)
        if directions.ndim not in (1, 2) or directions.shape[-1] != self.init.shape[-1]:
            raise ValueError(f"directions must be [text, {self.init.shape[-1]}]; got {list(directions.shape)}. {hint}")
        directions = jnp.atleast_2d(directions)
        return self._map(lambda x: jnp.einsum("...e,se->...s", x, directions, precision="highest"))

    @on_own_terms
    def mean(self) -> "Contributions":
        """Average over the batch, which is the leading axis: what mean-ablation puts in a term's place."""
        return self._map(lambda x: x.mean(0))

    def __repr__(self) -> str:
        """Show shapes, not numbers: the arrays are often large."""
        terms = ((name, getattr(self, name)) for name in ("init", "attn", "mlp", "constant"))
        shapes = ", ".join(f"{name} {list(x.shape) if hasattr(x, 'shape') else x}" for name, x in terms)
        axes = " ".join(("batch", *AXES[self.detail], "embed"))
        return f"Contributions({shapes}; attn [{axes}], constants {self.constants!r})"

    def _map(self, function) -> "Contributions":
        init, attn, mlp, constant = (function(x) for x in (self.init, self.attn, self.mlp, self.constant))
        return replace(self, init=init, attn=attn, mlp=mlp, constant=constant)


def _choice(name: str, value: str, choices) -> str:
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}; got {value!r}.")
    return value


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Readout:
    """The affine map from the pooled residual stream to the embedding: final LayerNorm, then projection.

    Its products are true float32 whatever the towers calculate in: they are few, and the sum is exact by them.
    """

    scale: Float[Array, "width"]
    bias: Float[Array, "width"]
    projection: Float[Array, "width embed"]
    eps: float = field(metadata={"static": True})

    def embed(self, z: Float[Array, "batch width"]) -> Float[Array, "batch embed"]:
        """Compute LayerNorm(z) @ P."""
        return self._dot(ops.layer_norm(z, self.scale, self.bias, self.eps), self.projection)

    def linear(self, constants: Constants) -> Float[Array, "width embed"]:
        """Return G, the linear part; for "separate" its columns are centred, so it centres what it multiplies."""
        g = self.scale[:, None] * self.projection
        return g - g.mean(0) if constants == "separate" else g

    def constant(self, z: Float[Array, "batch width"], constants: Constants) -> Float[Array, "batch embed"]:
        """Return what is left of the embedding besides z @ G / sigma."""
        beta = self._dot(self.bias, self.projection)
        if constants == "separate":
            return jnp.broadcast_to(beta, (len(z), len(beta)))
        mean, sigma = ops.mean_and_sigma(z, self.eps)
        return beta - mean / sigma * self._dot(self.scale, self.projection)

    def sigma(self, z: Float[Array, "batch width"]) -> Float[Array, "batch 1"]:
        return ops.mean_and_sigma(z, self.eps)[1]

    def _dot(self, a: Array, b: Array) -> Array:
        return jnp.matmul(a, b, precision="highest")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Terms:
    """What one forward pass leaves behind: the terms of z, before the final LayerNorm is known.

    `attn` is, by detail: values times pattern per layer, head and token ("full"); their sum over tokens ("head" and
    "layer"); or already in the joint space, summed over layers and heads, before the division by sigma ("token"). Both
    are None where only z was asked for. `first` is token 0's part of `attn` at detail "head": what the class token
    takes from itself.
    """

    z: Float[Array, "batch width"]
    init: Float[Array, "batch width"]
    attn: Float[Array, "..."] | None
    mlp: Float[Array, "layer batch width"] | None
    first: Float[Array, "layer batch head head_dim"] | None = None


def assemble(
    terms: Terms,
    readout: Readout,
    output: tuple[Float[Array, "layer head head_dim width"], Float[Array, "layer width"]],
    detail: Detail,
    constants: Constants,
) -> Contributions:
    """Turn terms of z into contributions to the embedding, whose sum is `readout.embed(terms.z)`.

    Args:
      terms: from a forward pass at the same `detail` and `constants`.
      readout: the final LayerNorm and projection.
      output: W_O and b_O of every layer, LayerScale multiplied in.
    """
    if terms.attn is None or terms.mlp is None:
        raise ValueError("terms must come from a forward pass with a detail; this one kept z alone.")
    kernel, bias = output
    n_layers, n_heads = kernel.shape[:2]
    g = readout.linear(constants)
    inverse = 1 / readout.sigma(terms.z)
    rest = readout.constant(terms.z, constants)

    def embed(spec: str, *operands: Array) -> Array:
        return jnp.einsum(spec, *operands, precision="highest")

    # The order of a three-way product is picked from the shapes: W_O @ G first for many samples, last for few.
    scaled = terms.attn * inverse.reshape(1, -1, *(1,) * (terms.attn.ndim - 2)) if detail != "token" else terms.attn
    match detail:
        case "full":
            # W_O @ G once an image, so that the product leaves its result in place: the other way round a tensor of
            # the result's size is built and turned, and that costs more than the product.
            matrices = jnp.broadcast_to(embed("lhcw,we->lhce", kernel, g), (len(rest), *kernel.shape[:3], g.shape[1]))
            attn = embed("blhtc,blhce->blhte", scaled.swapaxes(0, 1), matrices)
        case "head":
            attn = embed("lbhc,lhcw,we->blhe", scaled, kernel, g)
        case "layer":
            attn = embed("lbhc,lhcw,we->ble", scaled, kernel, g)
        case "token":
            attn = scaled * inverse[:, :, None]
    init = embed("bw,we->be", terms.init * inverse, g)
    mlp = embed("lbw,we->ble", terms.mlp * inverse, g)
    biases = embed("bi,lw,we->ble", inverse, bias, g)

    if constants == "separate":
        return Contributions(init, attn, mlp, rest + biases.sum(1), detail, constants)
    share = rest / (2 * n_layers + 1)
    layer = biases + share[:, None]
    match detail:
        case "full":
            attn = attn + (layer / (n_heads * attn.shape[-2]))[:, :, None, None]
        case "head":
            attn = attn + (layer / n_heads)[:, :, None]
        case "layer":
            attn = attn + layer
        case "token":
            attn = attn + (layer.sum(1) / attn.shape[-2])[:, None]
    return Contributions(init + share, attn, mlp + share[:, None], jnp.zeros_like(init), detail, constants)
