"""CLIP's image embedding as a sum over layers, heads and image patches, read with CLIP's own text encoder.

    clip = jaxclip.load("ViT-L-14/openai")
    embedding, contributions = clip.vision(clip.preprocess([image]))
    contributions.total()  # is the embedding

Source: Gandelsman, Efros and Steinhardt, arXiv:2310.05916.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from jaxclip.version import __version__ as __version__

if TYPE_CHECKING:
    from jaxclip.clip import Clip, load
    from jaxclip.config import ClipConfig, Compute, PreprocessConfig, TextConfig, VisionConfig
    from jaxclip.contributions import Contributions
    from jaxclip.moments import Moments
    from jaxclip.runs import Run, open_run
    from jaxclip.text import TextTransformer
    from jaxclip.text_span import TextSpan, textspan
    from jaxclip.vision import VisionTransformer

# JAX takes seconds to import, so names arrive when they are asked for.
_HOMES = {
    "Clip": "clip",
    "ClipConfig": "config",
    "Compute": "config",
    "Contributions": "contributions",
    "PreprocessConfig": "config",
    "Run": "runs",
    "TextConfig": "config",
    "TextTransformer": "text",
    "VisionConfig": "config",
    "VisionTransformer": "vision",
    "Moments": "moments",
    "TextSpan": "text_span",
    "load": "clip",
    "open_run": "runs",
    "textspan": "text_span",
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
