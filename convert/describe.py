"""What a checkpoint is, from its name or its own words, before its weights are fetched or read."""

from dataclasses import dataclass
from pathlib import Path

from jaxclip.config import ClipConfig
from jaxclip.convert.settle import Wishes, settle
from jaxclip.convert.sources import locate
from jaxclip.convert.tokenizers import find_tokenizer
from jaxclip.files import checkpoint
from jaxclip.files.tokenizer_files import TokenizerSource


@dataclass(frozen=True)
class Described:
    """A checkpoint without its weights.

    Attributes:
      config: that `jaxclip.load` would give it.
      no_texts: why it takes no texts; None where it does, as far as is known before its tokenizer is made.
      words: which tokenizer it has.
    """

    config: ClipConfig
    no_texts: str | None
    words: TokenizerSource


def describe(
    source: str | Path, *, image_size: int | tuple[int, int] | None = None, offline: bool = False
) -> Described:
    """Say what `jaxclip.load` would take a checkpoint for.

    Weights that come with a description are neither fetched nor opened; of others only names and shapes are looked at.

    Args:
      source: and the others, as `jaxclip.load` takes them.

    Raises:
      FileNotFoundError, ValueError: as in `jaxclip.load`, as far as it is known without weights.
    """
    if checkpoint.is_checkpoint(source):
        config, words = checkpoint.described(Path(source))
        config = config.for_images(image_size)
    else:
        located = locate(source, offline=offline)
        said = located.described()
        opened = said if said is not None and located.is_settled() else located.open()
        settled = settle(opened, Wishes(image_size=image_size))
        config, words = settled.config, find_tokenizer(opened, settled.config, settled.text_cfg)
    if config.text is None:
        return Described(config, f"{config.name} has no text tower here: {config.text_missing}", words)
    return Described(config, f"no tokenizer: {words.why}" if words.kind == "missing" else None, words)
