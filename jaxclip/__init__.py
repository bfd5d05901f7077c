"""CLIP's image embedding as a sum over layers, heads and image patches, read with CLIP's own text encoder.

    clip = jaxclip.load("ViT-L-14/openai")
    embedding, contributions = clip.vision(clip.preprocess([image]))
    contributions.total()  # is the embedding

Source: Gandelsman, Efros and Steinhardt, arXiv:2310.05916.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from jaxclip.moved import Moved
from jaxclip.version import __version__ as __version__

if TYPE_CHECKING:
    from jaxclip.analyses.textspan import TextSpan, textspan
    from jaxclip.clip import Clip, load
    from jaxclip.config import ClipConfig, Compute, PreprocessConfig, TextConfig, VisionConfig
    from jaxclip.model.contributions import Contributions
    from jaxclip.model.text import TextTransformer
    from jaxclip.model.vision import VisionTransformer
    from jaxclip.numerics.moments import Moments
    from jaxclip.runs.run import Run, open_run

sys.meta_path.append(Moved())

# JAX takes seconds to import, so names arrive when they are asked for.
_HOMES = {
    "Clip": "clip",
    "ClipConfig": "config",
    "Compute": "config",
    "Contributions": "model.contributions",
    "PreprocessConfig": "config",
    "Run": "runs.run",
    "TextConfig": "config",
    "TextTransformer": "model.text",
    "VisionConfig": "config",
    "VisionTransformer": "model.vision",
    "Moments": "numerics.moments",
    "TextSpan": "analyses.textspan",
    "load": "clip",
    "open_run": "runs.run",
    "textspan": "analyses.textspan",
}
__all__ = [
    "Clip", "ClipConfig", "Compute", "Contributions", "Moments", "PreprocessConfig", "Run", "TextConfig", "TextSpan",
    "TextTransformer", "VisionConfig", "VisionTransformer", "load", "open_run", "textspan",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxclip' has no attribute {name!r}")
    return getattr(import_module(f"jaxclip.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
