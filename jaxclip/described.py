"""What a checkpoint is, before its weights are read: what cannot be done with it is known at once."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from jaxclip import checkpoint
from jaxclip.config import ClipConfig


@dataclass(frozen=True)
class Described:
    """A checkpoint without its weights.

    Attributes:
      config: that `jaxclip.load` would give it.
      no_texts: why it takes no texts; None where it does, as far as is known before its tokenizer is made.
    """

    config: ClipConfig
    no_texts: str | None


def describe(
    source: str | Path, *, image_size: int | tuple[int, int] | None = None, offline: bool = False
) -> Described:
    """What `jaxclip.load` would say a checkpoint is; weights that come with a description are not even fetched.

    Args:
      source: and the others, as `jaxclip.load` takes them.

    Raises:
      FileNotFoundError, ValueError: as in `jaxclip.load`, as far as it is known without weights.
    """
    if checkpoint.is_checkpoint(source):
        config, words = checkpoint.described(Path(source))
        config = config.for_images(image_size)
    else:
        convert: Any = import_module("jaxclip.convert")  # Only unconverted checkpoints need it.
        config, words = convert.describe(source, image_size=image_size, offline=offline)
    if config.text is None:
        return Described(config, f"{config.name} has no text tower here: {config.text_missing}")
    return Described(config, f"no tokenizer: {words.why}" if words.kind == "missing" else None)
