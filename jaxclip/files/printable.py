"""Text that others wrote, such as names of files and labels, made fit for a terminal: it moves no cursor, hides nothing
and turns nothing round."""

import re
import unicodedata

MOST_OF_A_WORD = 300
"""Characters of one word that are shown; paths are shorter."""
MOST = 4000
"""Characters of one line that are shown."""

_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_HARMFUL = re.compile(f"{_TURNING.pattern}|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONG = re.compile(rf"\S{{{MOST_OF_A_WORD + 1},}}")


def printable(text: str) -> str:
    """Text in one line: control characters and marks that turn its direction are written out, long words are cut."""
    shown = "".join(letter if _is_plain(letter) else _written(letter) for letter in text[: 4 * MOST])
    shown = _LONG.sub(lambda found: f"{found[0][:200]}...{found[0][-60:]}", shown)
    return shown if len(shown) <= MOST else f"{shown[:MOST]}..."


def legible(text: str) -> str:
    """Text of any length for a page, where only control characters and marks that turn its direction do harm."""
    return _HARMFUL.sub(lambda found: _written(found[0]), text)


def _is_plain(letter: str) -> bool:
    return letter.isprintable() or not (
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or _TURNING.match(letter)
    )


def _written(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
