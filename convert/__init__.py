"""Weights of other libraries -> jaxclip. PyTorch is not needed and no code of a checkpoint is run.

`sources` finds any checkpoint, reads what describes it and opens it into named, unread tensors; `formats` has one
object a family, with the table of where each tensor goes; `settle` decides what the checkpoint is; `apply` runs the
table one tensor at a time and proves that nothing was left over.
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
