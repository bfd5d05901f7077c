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
    from jaxclip.analyses import directions as directions
    from jaxclip.analyses.ablation import Ablation as Ablation
    from jaxclip.analyses.ablation_sweeps import sweep as sweep
    from jaxclip.analyses.ov_circuits import ov_circuits as ov_circuits
    from jaxclip.analyses.retrieval import bank_head_sum as bank_head_sum
    from jaxclip.analyses.retrieval import nearest as nearest
    from jaxclip.analyses.second_order import neuron_moments as neuron_moments
    from jaxclip.analyses.segmentation.masks import segment as segment
    from jaxclip.analyses.segmentation.metrics import Segmented as Segmented
    from jaxclip.analyses.segmentation.segment_data import SegmentOptions as SegmentOptions
    from jaxclip.analyses.segmentation.segment_data import segment_data as segment_data
    from jaxclip.analyses.textspan import TextSpan as TextSpan
    from jaxclip.analyses.textspan import head_bases as head_bases
    from jaxclip.analyses.textspan import textspan as textspan
    from jaxclip.clip import Clip as Clip
    from jaxclip.clip import load as load
    from jaxclip.config import ClipConfig as ClipConfig
    from jaxclip.config import Compute as Compute
    from jaxclip.config import PreprocessConfig as PreprocessConfig
    from jaxclip.config import TextConfig as TextConfig
    from jaxclip.config import VisionConfig as VisionConfig
    from jaxclip.data import scenes as scenes
    from jaxclip.data.masks.labels import MaskLabels as MaskLabels
    from jaxclip.data.masks.open_masked import open_masked as open_masked
    from jaxclip.data.open_data import open_data as open_data
    from jaxclip.data.source import Example as Example
    from jaxclip.data.source import Source as Source
    from jaxclip.data.source import digest as digest
    from jaxclip.data.text_pools import read_pool as read_pool
    from jaxclip.data.text_pools import scenes_pool as scenes_pool
    from jaxclip.devices.sharding import make_mesh as make_mesh
    from jaxclip.devices.sharding import place_batch as place_batch
    from jaxclip.devices.sharding import place_vision as place_vision
    from jaxclip.model.contributions import Contributions as Contributions
    from jaxclip.model.head_coordinates import head_state as head_state
    from jaxclip.model.text import TextTransformer as TextTransformer
    from jaxclip.model.text_maps import text_maps as text_maps
    from jaxclip.model.vision import VisionTransformer as VisionTransformer
    from jaxclip.numerics.moments import Moments as Moments
    from jaxclip.runs.images import run_pictures as run_pictures
    from jaxclip.runs.inputs import open_pool as open_pool
    from jaxclip.runs.inputs import pool_embeddings as pool_embeddings
    from jaxclip.runs.inputs import run_model as run_model
    from jaxclip.runs.options import PassOptions as PassOptions
    from jaxclip.runs.run import Run as Run
    from jaxclip.runs.run import open_run as open_run
    from jaxclip.runs.run_pass import run_pass as run_pass
    from jaxclip.zeroshot import class_embeddings as class_embeddings
    from jaxclip.zeroshot import contrast as contrast
    from jaxclip.zeroshot import fill_templates as fill_templates
    from jaxclip.zeroshot import text_embeddings as text_embeddings

sys.meta_path.append(Moved())

_SECTIONS = {
    "Loading": {
        "Clip": "clip", "load": "clip", "ClipConfig": "config", "Compute": "config", "PreprocessConfig": "config",
        "TextConfig": "config", "VisionConfig": "config",
    },
    "Towers and contributions": {
        "Contributions": "model.contributions", "TextTransformer": "model.text", "VisionTransformer": "model.vision",
        "head_state": "model.head_coordinates", "text_maps": "model.text_maps", "Moments": "numerics.moments",
    },
    "Texts": {
        "read_pool": "data.text_pools", "scenes_pool": "data.text_pools", "class_embeddings": "zeroshot",
        "contrast": "zeroshot", "fill_templates": "zeroshot", "text_embeddings": "zeroshot",
    },
    "Data": {
        "Example": "data.source", "Source": "data.source", "digest": "data.source", "open_data": "data.open_data",
        "MaskLabels": "data.masks.labels", "open_masked": "data.masks.open_masked", "scenes": "data.scenes",
    },
    "Runs": {
        "PassOptions": "runs.options", "Run": "runs.run", "open_run": "runs.run", "run_pass": "runs.run_pass",
        "open_pool": "runs.inputs", "pool_embeddings": "runs.inputs", "run_model": "runs.inputs",
        "run_pictures": "runs.images",
    },
    "Devices": {
        "make_mesh": "devices.sharding", "place_batch": "devices.sharding", "place_vision": "devices.sharding",
    },
    "Analyses": {
        "Ablation": "analyses.ablation", "TextSpan": "analyses.textspan", "head_bases": "analyses.textspan",
        "textspan": "analyses.textspan", "sweep": "analyses.ablation_sweeps", "bank_head_sum": "analyses.retrieval",
        "nearest": "analyses.retrieval", "directions": "analyses.directions", "ov_circuits": "analyses.ov_circuits",
        "neuron_moments": "analyses.second_order",
    },
    "Segmentation": {
        "Segmented": "analyses.segmentation.metrics", "SegmentOptions": "analyses.segmentation.segment_data",
        "segment": "analyses.segmentation.masks", "segment_data": "analyses.segmentation.segment_data",
    },
}  # fmt: skip
"""Section -> public name -> the module it comes from; a name that is the module's own is the module. What is listed is
stable, docs/api.md follows it, and every name means this one thing."""

# JAX takes seconds to import, so names arrive when they are asked for.
_HOMES = {name: home for names in _SECTIONS.values() for name, home in names.items()}
__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxclip' has no attribute {name!r}")
    module = import_module(f"jaxclip.{_HOMES[name]}")
    return module if _HOMES[name].endswith(f".{name}") and not hasattr(module, name) else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
