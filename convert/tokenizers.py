"""Which tokenizer a checkpoint was trained with, and where its files are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxclip.config import ClipConfig
from jaxclip.convert.readers.hub import Repository, parse_repository
from jaxclip.convert.readers.places import Files
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.convert.registry import tokenizer_names
from jaxclip.convert.sources import Source
from jaxclip.files.tokenizer_files import TOKENIZER_FILES, TokenizerSource

CLIP_VOCABULARY = 49408
ESSENTIAL = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model")


def find_tokenizer(source: Source, config: ClipConfig, text_cfg: Mapping[str, Any] | None) -> TokenizerSource:
    """Find the tokenizer of a checkpoint; never an error, because its image side is usable without one.

    OpenCLIP's format names another tokenizer with `hf_tokenizer_name`, which is fetched with a repository that was
    asked for if OpenCLIP's own models name it too; without that, a vocabulary of 49,408 is CLIP's own. Hugging Face's
    format brings its files.
    """
    if config.text is None:
        return TokenizerSource(kind="missing", why=config.text_missing or "there is no text tower")
    text_cfg = text_cfg or {}
    named = text_cfg.get("hf_tokenizer_name")
    if named is not None and not isinstance(named, str):
        raise CheckpointError(f"text_cfg.hf_tokenizer_name must be a name; got {str(named)[:80]}.")
    options = text_cfg.get("tokenizer_kwargs") or {}
    if not isinstance(options, Mapping):
        raise CheckpointError(f"text_cfg.tokenizer_kwargs must be a JSON object; got {str(options)[:80]}.")
    options = dict(options)
    if text_cfg.get("tokenizer_mode"):
        options["tokenizer_mode"] = text_cfg["tokenizer_mode"]
    if text_cfg.get("tokenizer_type") or text_cfg.get("tiktoken_name"):
        return TokenizerSource(
            kind="missing", why=f"tokenizer_type {text_cfg.get('tokenizer_type')!r} is not supported"
        )
    how, raw = dict(source.format.clip_options), dict(source.format.own_options)
    of_clip = TokenizerSource(kind="clip", options=options | how, why="CLIP's own vocabulary of 49,408")
    is_clip = named is None and config.text.vocab_size == CLIP_VOCABULARY
    brings = source.description is not None and source.description.writer.brings_tokenizer
    if is_clip and not brings:
        return of_clip
    folder = _with_files(source.home)
    if folder is not None:
        return TokenizerSource(kind="own", folder=folder, options=options | raw, why=f"files of {source.label}")
    # A name out of a file must not cause a request to the network: it counts only where the cache knows it.
    online = isinstance(source.home, Repository) and not source.home.offline
    asked = online and named in tokenizer_names()
    repository = parse_repository(CANONICAL.get(named, named), offline=not asked) if named else None
    folder = _with_files(repository) if repository else None
    if folder is not None:
        return TokenizerSource(kind="own", folder=folder, options=options, why=f"files of {named}")
    if is_clip:
        return of_clip
    wanted = "it brings no tokenizer"
    if named:
        fetch = "could not be fetched" if asked else f"is not in the cache: run `hf download {named}`"
        wanted = f"its tokenizer {named} {fetch}"
    why = f"{wanted}, and its vocabulary of {config.text.vocab_size} is not CLIP's"
    return TokenizerSource(kind="missing", options=options, why=why)


CANONICAL = {"bert-base-uncased": "google-bert/bert-base-uncased"}
"""Present names of repositories from before names had an owner."""


def _with_files(home: Files | None) -> Path | None:
    """Find the folder that holds the tokenizer's files, once all of them are there."""
    if home is None:
        return None
    try:
        found = [path for name in TOKENIZER_FILES if (path := home.find(name)) is not None]
    except (FileNotFoundError, PermissionError):
        return None
    return found[0].parent if any(path.name in ESSENTIAL for path in found) else None
