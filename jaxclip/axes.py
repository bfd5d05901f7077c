"""The axes of every array in jaxclip, named once.

jaxtyping annotations use the long names and einsum strings use the letters, in the same order everywhere.

| letter | name    | meaning                                                                                      |
|--------|---------|----------------------------------------------------------------------------------------------|
| b      | batch   | images (or texts) handled together                                                           |
| l      | layer   | transformer blocks, first to last; `MLP` and attention of a block share its index            |
| h      | head    | attention heads of one layer; there are `width // head_dim`, never assumed to be 64 wide     |
| t      | token   | 0 is the class token, 1.. are the patches in row-major order (top left to bottom right)      |
| q      | query   | the token that attends; `t` is then the token attended to                                    |
| c      | head_dim| one head's own coordinates: queries, keys and values                                         |
| u      | unit    | head coordinates `c + 3`: a head's vector in units of the final LayerNorm, then 1/sigma,     |
|        |         | mu/sigma and 1 (see `contributions.py`)                                                      |
| w      | width   | the residual stream                                                                          |
| m      | neuron  | hidden units of an MLP                                                                       |
| e      | embed   | the joint image-text space                                                                   |
| s      | text    | texts, text directions or classes                                                            |
| p      | pixel   | what one patch holds, `patch_height * patch_width * 3`                                       |

Images are `batch height width channel`, red first, already normalised with the checkpoint's own mean and standard
deviation. Contributions are in units of the un-normalised embedding; "sigma" and "mu" are the final LayerNorm's
statistics of the pooled residual stream, sigma with eps inside the root.

The residual stream of the class token is a sum, because every block only adds to it:

    z = init + sum over layers of (sum over heads and tokens of pattern * value @ W_O  +  b_O)  +  sum of MLPs

and the embedding is affine in z once mu and sigma are read off the image. That is the whole method; `contributions.py`
writes it down. Source: Gandelsman, Efros and Steinhardt, arXiv:2310.05916, section 3.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

AnyArray = jax.Array | np.ndarray
"""What public functions take: JAX's arrays or NumPy's. They return JAX's, but for what stays on the host."""


def as_array(values: Any, name: str, hint: str) -> AnyArray:
    """Make an array of what people have: JAX's and NumPy's stay as they are, PyTorch's tensors and lists are copied.

    Args:
      values: what came.
      name: of the argument, for the error.
      hint: what makes such arrays.

    Raises:
      ValueError: it is no array of numbers.
    """
    if isinstance(values, AnyArray):
        return values
    if isinstance(values, list | tuple) and values and all(hasattr(one, "shape") for one in values):
        if any(isinstance(one, jax.Array) for one in values):
            return jnp.stack(values)
        values = np.stack([as_array(one, name, hint) for one in values])
    if (detach := getattr(values, "detach", None)) is not None:  # gradients flow through it, or it is on another device
        values = detach().cpu().numpy()
    try:
        found = np.asarray(values)
    except ValueError:  # rows of several lengths
        found = np.asarray(None)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be an array of numbers; got {type(values).__name__}. {hint}")
    return found
