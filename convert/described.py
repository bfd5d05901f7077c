"""What a checkpoint is, from its name or its own words, before its weights are fetched or read."""

from pathlib import Path

from jaxclip.checkpoint import TokenizerSource
from jaxclip.config import ClipConfig
from jaxclip.plain_files import is_there

from .descriptions import choose, described_in
from .homes import Files, Folder
from .hub import Repository
from .registry import Tag
from .rules import Layout
from .settle import Wishes, settle
from .sources import Source, from_home, named, open_source
from .tokenizers import find_tokenizer


def describe(
    source: str | Path, *, image_size: int | tuple[int, int] | None = None, offline: bool = False
) -> tuple[ClipConfig, TokenizerSource]:
    """Config and tokenizer as `jaxclip.convert.read` would find them.

    Weights that come with a description are neither fetched nor opened; of others only names and shapes are looked at.

    Raises:
      FileNotFoundError, CheckpointError: as `jaxclip.convert.read`, as far as it is known without weights.
    """
    opened = _opened(source, offline)
    settled = settle(opened, Wishes(image_size=image_size))
    return settled.config, find_tokenizer(opened, settled.config, settled.text_cfg)


def _opened(source: str | Path, offline: bool) -> Source:
    """As `open_source`, but without tensors where a name or files beside the weights say what they are."""
    text = str(source)
    path = Path(text.removeprefix("local-dir:")).expanduser()
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
    """A source without tensors; None where there is no description, or two between which the weights decide."""
    found = described_in(home)
    if len(found) != 1:
        return None
    kind = next(iter(found))
    layout: Layout = "huggingface" if kind == "huggingface" else "openclip"
    return Source(label, {}, layout, (), home, **choose(found, layout, home))
