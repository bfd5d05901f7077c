"""Weights of other libraries -> jaxclip. PyTorch is not needed and no code of a checkpoint is run.

`sources` opens any checkpoint into named, unread tensors; `settle` decides what it is; `rules` says by table where
each tensor goes; `apply` runs the table one tensor at a time and proves that nothing was left over.
"""

from jaxclip.convert.describe import Described, describe
from jaxclip.convert.export import export_openclip
from jaxclip.convert.opening import open_checkpoint
from jaxclip.convert.positions import resized
from jaxclip.convert.read import convert, read
from jaxclip.convert.readers.tensors import CheckpointError

__all__ = [
    "CheckpointError",
    "Described",
    "convert",
    "describe",
    "export_openclip",
    "open_checkpoint",
    "read",
    "resized",
]
