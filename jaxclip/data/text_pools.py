"""Pools of texts that TextSpan picks from: the shipped descriptions, the scenes' own words, or any file."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxclip.files.array_files import read_array
from jaxclip.files.plain import is_there, read_bytes
from jaxclip.numerics.arrays import counted

DATA = Path(__file__).parent


@dataclass(frozen=True)
class Pool:
    """Texts in order, with what each is about where that is known.

    Attributes:
      name: of the pool, or of the file it came from.
      texts: one or more.
      categories: one a text; empty where nobody said.
      embeddings: given along with the texts, of unit norm; None where a text encoder has to make them.
    """

    name: str
    texts: tuple[str, ...]
    categories: tuple[str, ...] = ()
    embeddings: Float[np.ndarray, "text embed"] | None = None

    def __repr__(self) -> str:
        """Its name and size, and what its texts are about."""
        about = ", ".join(dict.fromkeys(self.categories))
        return f"Pool({self.name!r}: {counted(len(self.texts), 'text')}{f' about {about}' if about else ''})"

    def about(self, category: str) -> tuple[str, ...]:
        """The texts of one category.

        Raises:
          ValueError: the pool has no such category.
        """
        if category not in self.categories:
            there = ", ".join(dict.fromkeys(self.categories)) or "none"
            raise ValueError(f"{category!r} is no category of the pool {self.name}; it has {there}.")
        return tuple(text for text, about in zip(self.texts, self.categories, strict=True) if about == category)


def descriptions() -> Pool:
    """The shipped pool: about 3,500 descriptions of what heads are known to specialise in."""
    texts = tuple((DATA / "descriptions.txt").read_text(encoding="utf-8").splitlines())
    ranges = json.loads((DATA / "descriptions.json").read_text(encoding="utf-8"))
    return Pool("descriptions", texts, tuple(name for name, (start, stop) in ranges.items() for _ in texts[start:stop]))


def scenes_pool() -> Pool:
    """What the scenes' captions can say of one factor at a time; the category is the factor.

    >>> pool = jaxclip.scenes_pool()
    >>> len(pool.texts) == len(pool.categories)
    True
    """
    from jaxclip.data.scenes.captioning import one_factor_texts

    found = one_factor_texts()
    texts = tuple(text for some in found.values() for text in some)
    return Pool("scenes", texts, tuple(factor for factor, some in found.items() for _ in some))


def read_pool(path: str | Path) -> Pool:
    """A pool from a file.

    Args:
      path: a text file of one text a line, empty lines left out; or a .npy array [text, embed] of embeddings, whose
        texts stand in a file of the same name ending in .txt. Embeddings are brought to unit norm.

    Raises:
      FileNotFoundError: there is no such file, or no texts beside an array.
      ValueError: no texts, no array, another number of texts than embeddings, or an embedding that is zero or NaN.
    """
    path = Path(path)
    if path.suffix != ".npy":
        texts = tuple(line for line in read_lines(path) if line)
        if not texts:
            raise ValueError(f"{path} holds no texts; it must have one a line.")
        return Pool(path.name, texts)
    embeddings = _array(path)
    texts = tuple(read_lines(path.with_suffix(".txt")))
    if len(texts) != len(embeddings):
        have, named = counted(len(embeddings), "embedding"), counted(len(texts), "line")
        raise ValueError(f"{path} has {have} and {path.with_suffix('.txt')} {named}.")
    return Pool(path.name, texts, embeddings=embeddings)


def read_lines(path: str | Path) -> list[str]:
    """Lines of a text file in UTF-8 without spaces around them; a last empty line does not count.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no text.
    """
    path = Path(path)
    if not is_there(path):
        raise FileNotFoundError(f"there is no file {path}; it should have one text a line.")
    try:
        return [line.strip() for line in read_bytes(path).decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}); save it as UTF-8.") from error


def _array(path: Path) -> Float[np.ndarray, "text embed"]:
    if not is_there(path):
        raise FileNotFoundError(f"there is no file {path}; it should hold one embedding a row.")
    try:
        array = read_array(path)
    except Exception as error:  # NumPy parses the header as Python, and raises what that may raise
        raise ValueError(f"{path} is no NumPy array ({error!s:.200}).") from error
    if array.ndim != 2 or not len(array) or array.dtype.kind != "f":
        raise ValueError(f"{path} must hold an array [text, embed] of floating-point numbers, at least one text.")
    norms = np.linalg.norm(array.astype(np.float64), axis=1)
    if wrong := np.flatnonzero(~(np.isfinite(norms) & (norms > 0))).tolist():
        raise ValueError(f"{path} has rows that are zero or not finite, the first is row {wrong[0]}; take them out.")
    return (array / norms[:, None]).astype(np.float32)
