"""Modules that scripts still import by an earlier name: they are found where they are now, with a warning."""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "jaxclip.classes": "jaxclip.runs.task",
    "jaxclip.data.segmentation_data": "jaxclip.data.masks.open_masked",
    "jaxclip.segment_pass": "jaxclip.analyses.segmentation.segment_data",
}


class Moved(MetaPathFinder, Loader):
    """A finder of modules by their earlier names; Python asks it last, so it costs nothing where they are not used."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Answer for earlier names alone."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that is meant in the place of the one that Python made."""
        now = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is now {now}.", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = import_module(now)
