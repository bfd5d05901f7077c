"""Double precision where it decides something, in a process that otherwise runs in 32 bits."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.core
import jax.export
import jax.numpy as jnp
import numpy as np

# jax.enable_x64 is the newer home of the same context manager.
_enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64  # pyright: ignore[reportAttributeAccessIssue]


def in_double(function: partial, *arguments: Any) -> Any:
    """Compute function(*arguments) in float64 and return float32. It works under `jax.jit` and `jax.vmap`.

    A trace that began in 32 bits is lowered in 32 bits, whatever is asked for on the way. So the function is lowered by
    itself, in 64 bits, and called as a finished program; under vmap it is called once for every element, in turn.

    On a TPU, which has no float64 eigensolver, arrays go to the host for it, and inside a trace it runs in float32.

    Args:
      function: a partial of a module-level function, over hashable keywords only.
      arguments: pytrees of arrays.
    """
    leaves, tree = jax.tree.flatten(arguments)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    platform = jax.export.default_export_platform()
    if platform == "tpu":
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return function(*arguments)
        leaves, platform = jax.device_put(leaves, jax.devices("cpu")[0]), "cpu"
    kinds = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    program, out = _program(function.func, tuple(sorted(function.keywords.items())), tree, kinds, platform)
    return jax.tree.unflatten(out, program(*leaves))


@lru_cache(maxsize=64)
def _program(function: Callable, keywords: tuple, tree: Any, kinds: tuple, platform: str) -> tuple[Callable, Any]:
    def flat(*leaves: Any) -> Any:
        result = function(*jax.tree.unflatten(tree, leaves), **dict(keywords))
        return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, result)

    shapes = [jax.ShapeDtypeStruct(*kind) for kind in kinds]
    with jax.ensure_compile_time_eval(), _enable_x64(True):
        exported = jax.export.export(jax.jit(flat), platforms=sorted({"cpu", platform}))(*shapes)
    leaves_out = jax.jit(lambda *leaves: jax.tree.leaves(exported.call(*leaves)))
    return jax.custom_batching.sequential_vmap(leaves_out), exported.out_tree


def one_after_another(function: Callable, *stacks: Any) -> Any:
    """Apply a function to every element of stacks, in turn: what `jax.vmap` gives, one matrix decomposition at a time.

    On a CPU a decomposition of a stack is shared out among XLA's threads and holds one of them until all parts are
    done, so several at once can leave none to work. A single matrix is decomposed where it is.

    Args:
      function: of one element.
      stacks: pytrees of arrays that share their leading axis.
    """
    return jax.lax.map(lambda element: function(*element), stacks)


def finite(tree: Any) -> bool:
    """Tell whether no leaf holds NaN or infinity; traced leaves count as finite, for their values are unknown."""
    values = [known(leaf) for leaf in jax.tree.leaves(tree)]
    return all(value is None or bool(np.isfinite(value).all()) for value in values)


def known(leaf: Any) -> np.ndarray | None:
    """Return an array's values, of the whole stack under an eager `jax.vmap`; None inside a `jax.jit`."""
    # A vmapped array holds the stack in `val`; were that ever renamed, it would only count as traced.
    while isinstance(leaf, jax.core.Tracer) and isinstance(getattr(leaf, "val", None), (jax.Array, np.ndarray)):
        leaf = leaf.val
    return None if isinstance(leaf, jax.core.Tracer) else np.asarray(leaf)
