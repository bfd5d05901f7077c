"""A source of one's own, from a file of Python: `birds.py:source` is what `source` in birds.py is or gives."""

import re
import runpy
from pathlib import Path
from typing import Any

from jaxclip.data.source import Source
from jaxclip.files.plain import expanded

_NAMED = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)")


def is_own(data: str) -> bool:
    """Tell whether a word names something in a file of Python."""
    return _NAMED.fullmatch(data) is not None and not Path(data).exists()


def own_source(data: str, split: str | None) -> Source:
    """What a file of Python names: a source, or something that is called without arguments and gives one.

    The file is run. So it is only ever called with what somebody typed, never with what a run says of itself.

    Args:
      data: FILE.py:NAME.
      split: there is none to choose from.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it fails, has no such name, or that is no source.
    """
    found = _NAMED.fullmatch(data)
    if found is None or not Path(found["file"]).is_file():
        raise FileNotFoundError(f"{data}: there is no such file of Python; name FILE.py:NAME.")
    if split is not None:
        raise ValueError(f"{data} is a source of your own and has no splits; leave out split={split!r}.")
    source: Any
    try:
        names = runpy.run_path(found["file"])
        made = names.get(found["name"])
        source = made() if callable(made) and (isinstance(made, type) or not isinstance(made, Source)) else made
    except Exception as error:  # whatever it does is its own
        raise ValueError(f"{found['file']} fails when it is run: {type(error).__name__}: {error}") from error
    if found["name"] not in names:
        raise ValueError(f"{found['file']} has nothing called {found['name']}; name a source in it, FILE.py:NAME.")
    if missing := [part for part in _PARTS if not hasattr(source, part)]:
        raise ValueError(
            f"{data} gives a {type(source).__name__}, which is no source of images: it lacks {', '.join(missing)}. See "
            f"jaxclip.data.source.Source."
        )
    return source


_PARTS = ("kind", "label_names", "__len__", "__getitem__", "fingerprint")


def placed(data: Any) -> str:
    """Where data is, so that it is found from another folder too: files by their whole path, names as they are."""
    text = str(data)
    if found := _NAMED.fullmatch(text) if is_own(text) else None:
        return f"{Path(found['file']).resolve()}:{found['name']}"
    path = expanded(text)
    return str(path.absolute()) if path.exists() else text
