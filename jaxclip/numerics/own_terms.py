"""The library's functions under settings of JAX that forbid what they do on purpose."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from types import GeneratorType
from typing import Any, TypeVar

import jax

Function = TypeVar("Function", bound=Callable[..., Any])
DISALLOWING = ("disallow", "disallow_explicit")
OF_JIT = ("lower", "trace", "eval_shape", "clear_cache")
"""What a function under `jax.jit` has beside its call."""


def on_own_terms(function: Function) -> Function:
    """Let a function promote ranks and move arrays to devices, whatever its caller allows elsewhere.

    Biases are added to batches, and pictures and texts come from the host: neither is a slip here. Where nothing is
    forbidden nothing is changed, so that programs are compiled once. It stands above `jax.jit`, for what a jitted
    function is given is moved before it begins; of a generator each step is on its terms, and what its caller does in
    between is not.
    """

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with _own_terms():
            result = function(*arguments, **options)
        return _each_step(result) if isinstance(result, GeneratorType) else result

    for name in OF_JIT:
        if hasattr(function, name):
            setattr(run, name, getattr(function, name))
    setattr(run, MARK, True)
    return run  # pyright: ignore[reportReturnType]


MARK = "__on_own_terms__"


def _own_terms() -> ExitStack:
    terms = ExitStack()
    if getattr(jax.config, "jax_numpy_rank_promotion", "allow") != "allow":
        terms.enter_context(jax.numpy_rank_promotion("allow"))
    guards = ("", "_host_to_device", "_device_to_device", "_device_to_host")
    if any(getattr(jax.config, f"jax_transfer_guard{name}", None) in DISALLOWING for name in guards):
        terms.enter_context(jax.transfer_guard("allow"))
    return terms


def _each_step(steps: Iterator[Any]) -> Iterator[Any]:
    while True:
        with _own_terms():
            try:
                one = next(steps)
            except StopIteration:
                return
        yield one


def nan_is_a_value(function: Function) -> Function:
    """Let a function use NaN as a value: it is an image that could not be read and -infinity what comes last.

    `jax_debug_nans` and `jax_debug_infs` look for slips, and these are none.
    """

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with ExitStack() as terms:
            if any(getattr(jax.config, name) for name in ("jax_debug_nans", "jax_debug_infs")):
                terms.enter_context(jax.debug_nans(False))
                terms.enter_context(jax.debug_infs(False))
            return function(*arguments, **options)

    return run  # pyright: ignore[reportReturnType]
