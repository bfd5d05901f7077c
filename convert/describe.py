"""What a checkpoint is, from its name or its own words, before its weights are fetched or read."""

from dataclasses import dataclass
from pathlib import Path

from jaxclip.config import ClipConfig
from jaxclip.convert.descriptions import choose, described_in
from jaxclip.convert.readers.hub import Repository
from jaxclip.convert.readers.places import Files, Folder
from jaxclip.convert.registry import Tag
from jaxclip.convert.rules import Layout
from jaxclip.convert.settle import Wishes, settle
from jaxclip.convert.sources import Source, from_home, has_usual_weights, named, open_source
from jaxclip.convert.tokenizers import find_tokenizer
from jaxclip.files import checkpoint
from jaxclip.files.plain import expanded, is_there
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
        opened = _opened(source, offline)
        settled = settle(opened, Wishes(image_size=image_size))
        config, words = settled.config, find_tokenizer(opened, settled.config, settled.text_cfg)
    if config.text is None:
        return Described(config, f"{config.name} has no text tower here: {config.text_missing}", words)
    return Described(config, f"no tokenizer: {words.why}" if words.kind == "missing" else None, words)


def _opened(source: str | Path, offline: bool) -> Source:
    """As `open_source`, but without tensors where a name or files beside the weights say what they are."""
    text = str(source)
    path = expanded(text.removeprefix("local-dir:"))
    if path.is_dir():
        home: Files = Folder(path)
    elif is_there(path) or text == "scenes" or not isinstance(source, str) or text.startswith("local-dir:"):
        return open_source(source)
    else:
        found = named(text, offline=offline)
        if isinstance(found, Tag):
            return Source(text, {}, "openclip", (), Repository(found.repository, offline=offline), tag=found)
        home = found
    return _by_files(home, text) or from_home(home, text)


def _by_files(home: Files, label: str) -> Source | None:
    """A source without tensors; None where there is no description, or where the names of the weights decide: between
    two, and whose way it goes where the weights are not those that the description is for."""
    found = described_in(home)
    if len(found) != 1:
        return None
    kind = next(iter(found))
    if isinstance(home, Folder) and not has_usual_weights(home, kind):
        return None
    layout: Layout = "huggingface" if kind == "huggingface" else "openclip"
    return Source(label, {}, layout, (), home, **choose(found, layout, home))
