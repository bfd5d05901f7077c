"""The families of checkpoints that are read, one object a family; a new one is a file here and a place in `FORMATS`."""

from collections.abc import Mapping
from typing import Any

from jaxclip.convert.formats.format import Format, Writer
from jaxclip.convert.formats.huggingface import HUGGINGFACE
from jaxclip.convert.formats.openai import OPENAI
from jaxclip.convert.formats.openclip import OPENCLIP, OPENCLIP_CUSTOM_TEXT

FORMATS = (OPENAI, OPENCLIP_CUSTOM_TEXT, OPENCLIP, HUGGINGFACE)
"""Of several that recognise a checkpoint the first counts, so the more particular stand first."""


def anchors() -> tuple[str, ...]:
    """List the tensors by which a CLIP is found in a file."""
    return tuple(dict.fromkeys(form.anchor for form in FORMATS))


def writers() -> tuple[Writer, ...]:
    """List the libraries whose descriptions are read."""
    return tuple(dict.fromkeys(form.writer for form in FORMATS))


def detect(names: set[str]) -> Format | None:
    """Recognise the family that a set of tensor names is written in, or None."""
    return next((form for form in FORMATS if form.detects(names)), None)


def format_of(writer: Writer) -> Format:
    """Return the family of the weights that a library's description is for: the plainest of those it writes."""
    return next(form for form in reversed(FORMATS) if form.writer is writer)


def format_named(name: str) -> Format | None:
    """Return the family that provenance calls by a name, or None."""
    return next((form for form in FORMATS if form.name == name), None)


def writer_of(file: str, fields: Mapping[str, Any]) -> Writer | None:
    """Recognise the family that a description file is of, by its name and its JSON, or None."""
    return next((writer for writer in writers() if writer.file == file and writer.claims(fields)), None)
