"""The library's functions under settings of JAX that forbid what they do on purpose."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, TypeVar

import jax

Function = TypeVar("Function", bound=Callable[..., Any])
DISALLOWING = ("disallow", "disallow_explicit")


def on_own_terms(function: Function) -> Function:
    """The same function, which promotes ranks and moves arrays to devices whatever its caller allows elsewhere.

    Biases are added to batches, and pictures and texts come from the host: neither is a slip here. Where nothing is
    forbidden nothing is changed, so that programs are compiled once.
    """

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with ExitStack() as terms:
            if getattr(jax.config, "jax_numpy_rank_promotion", "allow") != "allow":
                terms.enter_context(jax.numpy_rank_promotion("allow"))
            guards = ("", "_host_to_device", "_device_to_device", "_device_to_host")
            if any(getattr(jax.config, f"jax_transfer_guard{name}", None) in DISALLOWING for name in guards):
                terms.enter_context(jax.transfer_guard("allow"))
            return function(*arguments, **options)

    return run  # pyright: ignore[reportReturnType]
