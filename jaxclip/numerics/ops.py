"""Pure functions both towers are made of: arrays in, arrays out, no parameters of their own."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxclip.axes import AnyArray
from jaxclip.config import Activation, Library


def layer_norm(
    x: Float[Array, "*batch width"], scale: Float[Array, "width"], bias: Float[Array, "width"], eps: float
) -> Float[Array, "*batch width"]:
    """Compute (x - mean) / sqrt(variance + eps) * scale + bias, in float32 whatever comes in."""
    mean, sigma = mean_and_sigma(x, eps)
    return (x.astype(jnp.float32) - mean) / sigma * scale.astype(jnp.float32) + bias.astype(jnp.float32)


def mean_and_sigma(
    x: Float[Array, "*batch width"], eps: float
) -> tuple[Float[Array, "*batch 1"], Float[Array, "*batch 1"]]:
    """Compute LayerNorm's mu and sigma of each vector; sigma has eps inside the root."""
    x = x.astype(jnp.float32)
    mean = x.mean(-1, keepdims=True)
    # Two-pass variance: E[x^2] - E[x]^2 loses two digits in float32.
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return mean, jnp.sqrt(variance + eps)


def activate(x: Float[Array, "*batch neuron"], kind: Activation) -> Float[Array, "*batch neuron"]:
    """Apply the MLP's nonlinearity; the three kinds differ by up to 0.02, enough to spoil published numbers."""
    match kind:
        case "gelu":
            # As PyTorch writes it. jax.nn.gelu goes by erfc, exact for far negative x but twice as long on CPU.
            return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))
        case "quick_gelu":
            return x * jax.nn.sigmoid(1.702 * x)
        case "gelu_tanh":
            return jax.nn.gelu(x, approximate=True)


def pattern(
    q: Float[Array, "batch head query head_dim"],
    k: Float[Array, "batch head token head_dim"],
    mask: Bool[Array, "#batch #query token"] | None,
    precision: str,
) -> Float[Array, "batch head query token"]:
    """Compute softmaxed attention in float32; rows sum to one. `mask` is True where a query may look."""
    logits = jnp.einsum("bhqc,bhtc->bhqt", q, k, precision=precision, preferred_element_type=jnp.float32)
    logits = logits * q.shape[-1] ** -0.5
    if mask is not None:
        logits = jnp.where(mask[:, None], logits, -jnp.inf)
    return jax.nn.softmax(logits, axis=-1)


def patchify(
    images: Float[Array, "batch height width channel"], patch: tuple[int, int]
) -> Float[Array, "batch patch pixel"]:
    """Cut images into patches, row by row; what does not fill a patch is cut off at the bottom and right.

    A matrix product with the result is a convolution whose stride is its kernel size.
    """
    batch, height, width, channel = images.shape
    rows, columns = height // patch[0], width // patch[1]
    images = images[:, : rows * patch[0], : columns * patch[1]]
    cut = images.reshape(batch, rows, patch[0], columns, patch[1], channel)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, patch[0] * patch[1] * channel)


def resize_positions(
    positions: Float[AnyArray, "token width"],
    grid: tuple[int, int],
    new_grid: tuple[int, int],
    library: Library = "open_clip",
) -> Float[AnyArray, "new_token width"]:
    """Resize position embeddings to another grid of patches, in float32: bicubic, with antialiasing as OpenCLIP does
    it, or without and by PyTorch's kernel, as transformers does.

    Those before the patches are left as they are, and the same grid changes nothing.

    Args:
      positions: of the tokens before the patches (the class token), then of the patches in row-major order.
      grid: patches (down, across) that `positions` covers.
      new_grid: patches (down, across) wanted.
      library: whose way.
    """
    if grid == new_grid:
        return positions
    width = positions.shape[-1]
    n_prefix = len(positions) - grid[0] * grid[1]
    patches = jnp.asarray(positions[n_prefix:], jnp.float32).reshape(*grid, width)
    if library == "open_clip":
        patches = jax.image.resize(patches, (*new_grid, width), method="cubic", antialias=True)
    else:
        down, across = (cubic_weights(*sides) for sides in zip(grid, new_grid, strict=True))
        patches = jnp.einsum("yr,xc,rcw->yxw", down, across, patches, precision="highest")
    return jnp.concatenate([jnp.asarray(positions[:n_prefix], jnp.float32), patches.reshape(-1, width)])


def cubic_weights(size: int, new_size: int) -> Float[np.ndarray, "new old"]:
    """Compute how much of each value along a line goes into each of another number of them, as PyTorch does.

    Cubic convolution with a = -0.75 between the centres of cells, edges repeated, no antialiasing
    (`interpolate(mode="bicubic", align_corners=False)`).

    Source: Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP 29 (1981).
    """
    at = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    first = np.floor(at).astype(int) - 1
    weights = np.zeros((new_size, size), np.float32)
    for tap in range(4):
        x = np.abs(at - (first + tap))
        near, far = (1.25 * x - 2.25) * x * x + 1, -0.75 * (((x - 5) * x + 8) * x - 4)
        np.add.at(weights, (np.arange(new_size), np.clip(first + tap, 0, size - 1)), np.where(x <= 1, near, far))
    return weights
