"""Attention as one kernel of cuDNN's, where nobody asks for the pattern: on NVIDIA GPUs, in half precision.

Contributions need the pattern of the class token alone, and that row is formed by itself (see `jaxclip.model.vision`).
Of all other rows only the mixed values are wanted, so their pattern is not written to memory. The kernel multiplies in
the dtype of its inputs and sums in float32, as the explicit form does.
"""

from collections.abc import Callable
from typing import Literal

import jax
from jaxtyping import Array, Float

from jaxclip.config import Compute

CAPABILITY = 8
"""First generation of NVIDIA GPUs (Ampere) that cuDNN's kernel runs on."""


def applies(compute: Compute, head_dim: int) -> bool:
    """Decide whether attention without a mask goes through the kernel, when a program is traced."""
    return (
        compute.attention == "auto"
        and compute.dtype in ("bfloat16", "float16")
        and head_dim % 8 == 0
        and head_dim <= 128
        and has_kernel()
    )


def has_kernel() -> bool:
    """Tell whether JAX's default device is a GPU that cuDNN's kernel runs on."""
    device = jax.devices()[0]
    # Other makers' GPUs have no number there.
    generation = str(getattr(device, "compute_capability", "")).split(".")[0]
    return device.platform == "gpu" and generation.isdigit() and int(generation) >= CAPABILITY


def attend(
    q: Float[Array, "batch head query head_dim"],
    k: Float[Array, "batch head token head_dim"],
    v: Float[Array, "batch head token head_dim"],
    plain: Callable[[Array, Array, Array], Array],
) -> Float[Array, "batch head query head_dim"]:
    """Compute `plain(q, k, v)`, by the kernel wherever the program is made for an NVIDIA GPU."""

    @jax.custom_jvp
    def kernel(q: Array, k: Array, v: Array) -> Array:
        return mix(q, k, v)

    # The kernel has a backward pass, for even numbers of tokens only; a ViT's is mostly odd.
    kernel.defjvp(lambda primals, tangents: jax.jvp(plain, primals, tangents))
    return jax.lax.platform_dependent(q, k, v, cuda=kernel, default=plain)


def mix(
    q: Float[Array, "batch head query head_dim"],
    k: Float[Array, "batch head token head_dim"],
    v: Float[Array, "batch head token head_dim"],
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "batch head query head_dim"]:
    """Compute softmax(q kᵀ / sqrt(head_dim)) v for every query; the pattern itself is never an array.

    Args:
      q: queries.
      k: keys.
      v: values.
      implementation: whose kernel; "xla" runs anywhere, to be compared with.
    """
    # JAX's function wants tokens before heads: the transpose undoes the one that `project_in` ends with.
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v, implementation=implementation).swapaxes(1, 2)
