"""Texts to token ids, exactly as a checkpoint's own library writes them: CLIP's own byte-pair vocabulary, which is
shipped, or the tokenizer files a checkpoint brings.

OpenCLIP repairs a text (ftfy, HTML entities, white space) before any vocabulary sees it, so the same is done for its
checkpoints; those in transformers' layout get texts as transformers would, unrepaired.
"""

import gzip
import html
import json
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import ftfy
import numpy as np
import regex
from jaxtyping import Int, Integer
from tokenizers.models import BPE

from jaxclip.files.plain import is_there, refuse_special
from jaxclip.files.strict_json import read_object

Clean = Literal["lower", "whitespace", "canonicalize", "transformers", "none"]
"""OpenCLIP's: `lower` is CLIP's, `whitespace` keeps the case, `canonicalize` also drops punctuation (SigLIP, mT5).
`transformers` is what its CLIPTokenizer does (composed letters, white space, lower case; nothing is repaired or
unescaped), and `none` leaves texts to the tokenizer's own files, which say it."""

CLIP_VOCAB_SIZE = 49408
_START, _END = CLIP_VOCAB_SIZE - 2, CLIP_VOCAB_SIZE - 1
_SPECIAL = {"<start_of_text>": _START, "<end_of_text>": _END}
_WORD = regex.compile(
    "|".join(_SPECIAL) + r"|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)


@runtime_checkable
class Tokenizer(Protocol):
    """What `clip.tokenize` needs; anything with these two methods may be passed as a tokenizer."""

    def __call__(self, texts: str | Sequence[str], context: int | None = None) -> Int[np.ndarray, "text context"]: ...

    def decode(self, tokens: Integer[np.ndarray, "*text context"]) -> list[str]: ...


def clean_text(text: str, how: Clean) -> str:
    """Repair a text as OpenCLIP does: mojibake, HTML entities (twice, as scraped captions need), white space, case; or
    as transformers does, which repairs nothing."""
    if how == "none":
        return text
    if how == "transformers":
        return " ".join(unicodedata.normalize("NFC", text).split()).lower()
    text = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
    if how == "canonicalize":
        text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation)).lower()
        return " ".join(text.split())
    return text.lower() if how == "lower" else text


@dataclass(frozen=True)
class ClipTokenizer:
    """CLIP's byte-pair tokenizer, for every checkpoint whose vocabulary holds 49,408 tokens; needs no file.

    A text of n tokens becomes start, n tokens, end, then `pad_id`; one that does not fit is cut and ends in end.

    Args:
      context: the length of a row; 77 for all but a few checkpoints.
      pad_id: OpenCLIP pads with 0 (which is also the token `!`).
      clean: how a text is repaired first.
    """

    context: int = 77
    pad_id: int = 0
    clean: Clean = "lower"

    def __post_init__(self) -> None:
        _check_clean(self.clean)
        _check_context(self.context)

    def __call__(self, texts: str | Sequence[str], context: int | None = None) -> Int[np.ndarray, "text context"]:
        context = self.context if context is None else _check_context(context)
        rows = [[_START, *self._encode(text), _END] for text in check_texts(texts)]
        rows = [row if len(row) <= context else [*row[: context - 1], _END] for row in rows]
        return _pad(rows, context, self.pad_id)

    def decode(self, tokens: Integer[np.ndarray, "*text context"]) -> list[str]:
        """Decode each row to its cleaned text, up to its end token; bytes that are no UTF-8 become U+FFFD."""
        return [_decode_clip(row) for row in _check_tokens(tokens, CLIP_VOCAB_SIZE)]

    def _encode(self, text: str) -> list[int]:
        bpe, letters, _ = _clip_vocabulary()
        ids: list[int] = []
        for word in _WORD.findall(clean_text(text, self.clean)):
            if word in _SPECIAL:
                ids.append(_SPECIAL[word])
            else:
                ids.extend(token.id for token in bpe.tokenize("".join(letters[byte] for byte in word.encode())))
        return ids


@dataclass(frozen=True)
class FolderTokenizer:
    """A checkpoint's own Hugging Face tokenizer, used as the checkpoint's library uses it; made by `from_folder`.

    Args:
      backend: the tokenizer `transformers` built.
      context: the length of a row; longer texts are cut by the tokenizer's own rule.
      pad_id: what fills a row up, on the tokenizer's own padding side.
      clean: how a text is repaired first.
      strip_sep_token: write 0 for the separator token (CLIPA).
    """

    backend: Any = field(repr=False)
    context: int
    pad_id: int
    clean: Clean = "whitespace"
    strip_sep_token: bool = False

    def __post_init__(self) -> None:
        _check_clean(self.clean)
        _check_context(self.context)
        if self.strip_sep_token and self.backend.sep_token_id is None:
            raise ValueError("strip_sep_token needs a tokenizer with a separator token; this one has none.")

    def __call__(self, texts: str | Sequence[str], context: int | None = None) -> Int[np.ndarray, "text context"]:
        context = self.context if context is None else _check_context(context)
        cleaned = [clean_text(text, self.clean) for text in check_texts(texts)]
        try:
            rows = self.backend(cleaned, max_length=context, truncation=True, padding=False)["input_ids"]
        except Exception as error:  # its Rust half raises plain Exceptions: for a word without an [UNK], say
            raise ValueError(f"the checkpoint's own tokenizer fails on these texts ({error}).") from error
        tokens = _pad(rows, context, self.pad_id, left=self.backend.padding_side == "left")
        if self.strip_sep_token:
            tokens = np.where(tokens == self.backend.sep_token_id, np.int32(0), tokens)
        return tokens

    def decode(self, tokens: Integer[np.ndarray, "*text context"]) -> list[str]:
        """Decode each row to its text, without special tokens and padding."""
        texts = []
        for row in _check_tokens(tokens, len(self.backend)):
            filled = np.flatnonzero(row != self.pad_id)
            kept = row[filled[0] : filled[-1] + 1].tolist() if filled.size else []
            texts.append(self.backend.decode(kept, skip_special_tokens=True))
        return texts


@dataclass(frozen=True)
class MissingTokenizer:
    """Stands where a checkpoint has no tokenizer: the model works, and asking for tokens says what is missing."""

    reason: str

    def __call__(self, texts: str | Sequence[str], context: int | None = None) -> Int[np.ndarray, "text context"]:
        raise ValueError(f"no tokenizer: {self.reason}")

    def decode(self, tokens: Integer[np.ndarray, "*text context"]) -> list[str]:
        raise ValueError(f"no tokenizer: {self.reason}")


def has_tokenizer(folder: str | Path) -> bool:
    """Tell whether a folder holds tokenizer files of its own that `from_folder` can read."""
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
    return any(is_there(Path(folder) / name) for name in names)


def from_folder(
    folder: str | Path,
    context: int,
    pad_id: int | None = None,
    *,
    clean: Any = "whitespace",
    strip_sep_token: bool = False,
    **unsupported: Any,
) -> FolderTokenizer:
    """Read the tokenizer whose Hugging Face files `folder` holds; nothing is downloaded and no code from it is run.

    Args:
      folder: holds `tokenizer.json`, or a vocabulary file and `tokenizer_config.json`.
      context: tokens a row has, the text tower's context.
      pad_id: what fills a row up; None takes the tokenizer's own padding token.
      clean: OpenCLIP's option of that name, from `text_cfg.tokenizer_kwargs`.
      strip_sep_token: OpenCLIP's option of that name.
      **unsupported: any other option; named in the error.

    Raises:
      FileNotFoundError: the folder, or a tokenizer in it, does not exist.
      ValueError: an option is unknown, the files cannot be read, or the padding token is not known.
    """
    refused = sorted(name for name, value in unsupported.items() if value not in (None, False, ""))
    if refused:
        raise ValueError(
            f"tokenizer options {', '.join(refused)} are not supported; jaxclip knows clean and "
            "strip_sep_token, so pass a tokenizer of your own (a callable from texts to token ids)."
        )
    _check_clean(clean)
    folder = Path(folder)
    if not has_tokenizer(folder):
        raise FileNotFoundError(f"{folder} holds no tokenizer.json, vocabulary or sentencepiece file.")
    backend = _read_backend(folder)
    pad_id = backend.pad_token_id if pad_id is None else pad_id
    if pad_id is None:
        raise ValueError(f"the tokenizer in {folder} names no padding token; pass pad_id=X, the text config's pad_id.")
    return FolderTokenizer(backend, context, int(pad_id), clean, strip_sep_token)


def check_texts(texts: str | Sequence[str]) -> list[str]:
    """Check `texts`, and give them as a non-empty list of strings.

    Raises:
      ValueError: it is empty or an item is no string, naming the first.
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not hasattr(texts, "__iter__"):
        raise ValueError(f"texts must be a string or a list of strings; got {type(texts).__name__}.")
    texts = list(texts)
    if not texts:
        raise ValueError("texts is empty; pass at least one string.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts must be strings; item {index} is {type(text).__name__}: {text!r:.60}.")
    return texts


def write_clip_files(folder: Path) -> None:
    """Write CLIP's own vocabulary into a folder as the files of transformers' CLIPTokenizer."""
    names = [*_clip_vocabulary()[2][:_START], "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in _merges()), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')


def _merges() -> list[tuple[str, ...]]:
    packed = (files("jaxclip") / "bpe" / "clip_merges.txt.gz").read_bytes()
    return [tuple(line.split(" ")) for line in gzip.decompress(packed).decode().splitlines()]


@lru_cache(maxsize=1)
def _clip_vocabulary() -> tuple[BPE, list[str], list[str]]:
    """Read the merges, each byte's letter and each token's string: bytes, bytes that end a word, merges, start, end."""
    merges: list[Any] = _merges()
    letters = _byte_letters()
    # Printable bytes come first in the vocabulary and in order, then the others in the order of their stand-ins.
    alphabet = sorted(letters, key=lambda letter: (ord(letter) > 255, ord(letter)))
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in merges), *_SPECIAL]
    bpe = BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, end_of_word_suffix="</w>")
    return bpe, letters, tokens


def _byte_letters() -> list[str]:
    """Choose a printable letter for each byte: itself where it is printable in Latin-1, else the next one above 255."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(256)]


def _decode_clip(row: np.ndarray) -> str:
    _, letters, tokens = _clip_vocabulary()
    ends = np.flatnonzero(row == _END)
    ids = row[: ends[0]] if ends.size else row
    joined = "".join(tokens[i] for i in ids if i != _START).replace("</w>", " ")
    value = {letter: byte for byte, letter in enumerate(letters)} | {" ": 0x20}
    return bytes(value[letter] for letter in joined).decode(errors="replace").strip()


def _read_backend(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast  # takes a second to import, and CLIP's own needs none

    settings = folder / "tokenizer_config.json"
    try:
        for path in folder.iterdir():  # transformers and its Rust half open them by name
            refuse_special(path)
        held = read_object(settings, "download it again") if is_there(settings) else {}
        if not is_there(settings) and not is_there(folder / "config.json"):
            return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        if held.get("tokenizer_class") == "PreTrainedTokenizerFast":
            return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        from transformers import AutoTokenizer  # two more, to look the class up among all of them

        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers and its Rust half raise whatever their parsers do
        raise ValueError(f"the tokenizer in {folder} cannot be read ({error}); pass another one.") from error


def _pad(rows: list[list[int]], context: int, pad_id: int, left: bool = False) -> Int[np.ndarray, "text context"]:
    tokens = np.full((len(rows), context), pad_id, np.int32)
    for into, row in zip(tokens, rows, strict=True):
        into[context - len(row) if left else 0 :][: len(row)] = row
    return tokens


def _check_tokens(tokens: Any, vocab_size: int) -> np.ndarray:
    tokens = np.atleast_2d(np.asarray(tokens))
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
        raise ValueError(f"tokens must be rows of integers; got {tokens.dtype} of shape {tokens.shape}.")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise ValueError(f"tokens must be from 0 to {vocab_size - 1}; got {tokens.min()} to {tokens.max()}.")
    return tokens


def _check_context(context: int) -> int:
    if not isinstance(context, int) or context < 1:
        raise ValueError(f"context must be a positive integer; got {context!r}.")
    return context


def _check_clean(clean: str) -> None:
    if clean not in get_args(Clean):
        raise ValueError(f"clean must be one of {', '.join(get_args(Clean))}; got {clean!r}.")
