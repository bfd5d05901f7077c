"""Texts in figures: broken into lines, and in fonts that have their letters."""

import re
import unicodedata
import warnings
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from jaxclip.files.printable import printable

PLAIN = "DejaVu Sans"
"""The font that comes with matplotlib; others are looked for where it lacks a letter."""

MOST_LINES = 12
"""Of a text beside a panel; with more there is no room left for what it is the title of."""
_NO_XML = re.compile("[\ufffe\uffff]")
"""What no SVG may hold; control characters, which it may not hold either, are written out as on a terminal."""

NO_LETTERS = ("Last Resort", "LastResort", "Adobe Blank", "Adobe NotDef")
"""Fonts that claim to have every letter and draw a box for each."""


def wrapped(text: str, width: int = 30, most: int = MOST_LINES) -> str:
    """A text in lines of about `width` letters, broken between words, or between letters that are as wide as tall.

    Args:
      text: any text; nothing in it is markup.
      width: of a line.
      most: lines to keep, the last one then ends in dots.
    """
    lines = [""]
    for word in _words(printable(" ".join(text.split()))):
        if lines[-1].strip() and _width(lines[-1]) + _width(word.strip()) > width:
            lines[-1:] = [lines[-1].rstrip(), ""]
        lines[-1] += word
    if len(lines) > most:
        last = lines[most - 1]
        while _width(last) > width - 4:
            last = last[:-1]
        lines = [*lines[: most - 1], f"{last} ..."]
    return "\n".join(line.rstrip() for line in lines)


def _words(text: str) -> Iterator[str]:
    """Parts of a text that a line may end between, each with the space behind it."""
    for word in text.split():
        start = 0
        for place, letter in enumerate(word):
            if _wide(letter) and place > start and unicodedata.category(letter)[0] == "L":
                yield word[start:place]
                start = place
        yield f"{word[start:]} "


def _width(text: str) -> int:
    return sum(1 + _wide(letter) for letter in text)


def _wide(letter: str) -> bool:
    """Whether a letter is as wide as tall, as Chinese, Japanese and Korean ones are."""
    return unicodedata.east_asian_width(letter) in "WF"


def letter(figure: Figure) -> None:
    """Give every text of a figure fonts that have its letters, as far as the system has some; of the rest, warn once.

    A figure that needs no other font is left as it is.
    """
    texts: list[Text] = figure.findobj(Text)  # pyright: ignore[reportAssignmentType]
    for text in texts:
        if (fit := _fit(text.get_text())) != text.get_text():
            text.set_text(fit)
    lacking = {text: _lacking(text.get_text()) for text in texts}
    families, missing = _fonts(frozenset().union(*lacking.values()))
    for text, letters in lacking.items():
        if letters:
            text.set_fontfamily([PLAIN, *families])
    if missing:
        _warn(missing)


def _fit(text: str) -> str:
    """A text that every format of figures can hold."""
    return "\n".join(_NO_XML.sub("\ufffd", printable(line)) for line in text.split("\n"))


def _lacking(text: str) -> frozenset[str]:
    """Letters that the plain font does not have; what is never drawn, such as joiners, is none."""
    return frozenset(one for one in text if not one.isascii() and ord(one) not in _plain() and _drawn(one))


def _drawn(one: str) -> bool:
    return unicodedata.category(one) not in ("Cf", "Zs") and not 0xFE00 <= ord(one) <= 0xFE0F


@lru_cache(maxsize=1)
def _plain() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(PLAIN)).get_charmap())


@lru_cache(maxsize=16)
def _fonts(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Families of the system that have most of these letters, most first, and the letters that none has."""
    missing, families = set(letters), []
    have = {name: found for name, found in _coverage(letters).items() if found} if letters else {}
    while missing and have:
        # Sans-serif first among equals, as the plain one is; then by name, so that the choice is always the same.
        name = min(have, key=lambda name: (-len(have[name] & missing), "serif" in name.lower(), name))
        if not have[name] & missing:
            break
        missing -= have.pop(name)
        families.append(name)
    return tuple(families), frozenset(missing)


def _coverage(letters: frozenset[str]) -> dict[str, set[str]]:
    """Which of some letters each upright family has."""
    have: dict[str, set[str]] = {}
    for entry in font_manager.fontManager.ttflist:
        if entry.style != "normal" or entry.name.startswith(NO_LETTERS) or not Path(entry.fname).is_file():
            continue
        try:
            letters_of = font_manager.get_font(entry.fname).get_charmap()
        except (RuntimeError, OSError, ValueError):  # a broken font of the system is none
            continue
        have.setdefault(entry.name, set()).update(one for one in letters if ord(one) in letters_of)
    return have


@cache
def _warn(missing: frozenset[str]) -> None:
    """Say it once in a process, however many figures show the text."""
    shown = ", ".join(sorted(missing)[:5]) + (", ..." if len(missing) > 5 else "")
    warnings.warn(
        f"figures show boxes for {len(missing)} letters ({shown}) that no font of this system has; install one that "
        f"does, such as Noto Sans CJK for Chinese, Japanese and Korean.",
        stacklevel=4,
    )
