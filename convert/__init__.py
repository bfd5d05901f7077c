"""Weights of other libraries -> jaxclip. PyTorch is not needed and no code of a checkpoint is run.

`sources` opens any checkpoint into named, unread tensors; `settle` decides what it is; `rules` says by table where
each tensor goes; `apply` runs the table one tensor at a time and proves that nothing was left over.
"""

from .described import Described, describe
from .export import export_openclip
from .opening import open_checkpoint
from .port import convert, read
from .positions import resized
from .tensors import CheckpointError

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
