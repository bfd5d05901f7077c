"""Which tokenizer a checkpoint has, and the files it is made of."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class TokenizerSource:
    """Which tokenizer a checkpoint has. `clip` is CLIP's own, which this package ships; `own` lies in `folder`;
    `missing` says in `why` what is not there. `options` are OpenCLIP's tokenizer settings."""

    kind: Literal["clip", "own", "missing"]
    why: str
    folder: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)


TOKENIZER_FILES = frozenset(
    {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt", "vocab.txt", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model",
    }
)  # fmt: skip
"""Every file that a Hugging Face tokenizer may be made of."""
