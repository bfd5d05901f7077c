"""One pass over a data set, and what it leaves behind: `open_run` opens a run again."""

from importlib import import_module

_HOMES = {"Run": "run", "open_run": "run"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxclip.runs' has no attribute {name!r}")
    return getattr(import_module(f"jaxclip.runs.{_HOMES[name]}"), name)
