"""One HTML file that holds a whole report: data, style and script, nothing fetched from anywhere.

Data stand in the page as JSON, with everything escaped that could end a script or begin a tag, and the script puts
words into the page as text alone. A content security policy allows this style and this script and nothing else.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxclip.files.images import open_image
from jaxclip.files.plain import check_inside, is_there
from jaxclip.files.printable import legible
from jaxclip.files.strict_json import MAX_LARGE, read_object
from jaxclip.report.html import modules
from jaxclip.report.html.model_card import named
from jaxclip.report.html.packing import data_uri, short

LONGEST = 400
"""Entries of one list of a results file that a report shows."""
FIGURE = 1400
MOST_FIGURES = 8


def page(runs: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]] = ()) -> str:
    """The report as HTML.

    Args:
      runs: what `jaxclip.report.html.run_data.collect` gives; two of one shape are compared head by head.
      results: what `read_results` gives.
    """
    from jaxclip import __version__

    data = {"version": __version__, "runs": list(runs), "changes": changes(*runs) if len(runs) == 2 else None,
            "results": list(results)}  # fmt: skip
    parts = files("jaxclip.report.html") / "page"
    template, style = ((parts / name).read_text(encoding="utf-8") for name in ("template.html", "style.css"))
    script = modules.script("app", lambda name: (parts / f"{name}.js").read_text(encoding="utf-8"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        f"base-uri 'none'; form-action 'none'"
    )
    # Data come last, so that nothing in them is taken for a place of another part.
    for name, part in (("POLICY", policy), ("STYLE", style), ("SCRIPT", script), ("DATA", escaped(data))):
        before, after = template.split(f"%%{name}%%")
        template = before + part + after
    return template


def escaped(data: Any) -> str:
    """JSON that can stand inside a script element: it has no <, > or &, and no character outside ASCII."""
    text = json.dumps(_finite(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Which heads changed their role between two runs, most first; None where their models have other heads.

    What a head does is how the variance that its texts explain is divided among them. The change is the part of it that
    went elsewhere: 0 for the same texts with the same shares, 1 for none in common. The same for properties.
    """
    if (one["layers"], one["heads"]) != (other["layers"], other["heads"]):
        return None
    found = []
    for layer in range(one["layers"]):
        for head in range(one["heads"]):
            here, there = one["pages"][layer][head], other["pages"][layer][head]
            texts = _moved(_shares(here, one), _shares(there, other))
            kinds = _moved(_kinds(here, one), _kinds(there, other))
            found.append({"layer": layer, "head": head, "texts": short(texts), "properties": short(kinds)})
    return sorted(found, key=lambda entry: (-entry["texts"], -entry["properties"]))


def read_results(folder: Path) -> dict[str, Any]:
    """What another command left in its --out: results.json, with lists cut to what can be shown, and its figures.

    Raises:
      FileNotFoundError: there is no results.json.
      ValueError: it is no JSON object; or a file of the folder is a link out of it, a pipe or a device.
    """
    path = folder / "results.json" if folder.is_dir() else folder
    if not is_there(path):
        raise FileNotFoundError(f"{path} does not exist; name the --out folder of a command such as jaxclip ablate.")
    pictures = sorted(path.parent.glob("*.png"))[:MOST_FIGURES]
    for part in [path, *pictures] if folder.is_dir() else pictures:
        check_inside(part)
    data = read_object(path, "run the command that wrote it again", MAX_LARGE, nan=True)
    figures = [found for image in pictures if (found := _figure(image))]
    return {"name": path.parent.name or path.stem, "data": _cut(data), "figures": figures}


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {legible(str(key)): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    if isinstance(value, (np.floating, np.integer)):
        value = value.item()
    if isinstance(value, str):
        return legible(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cut(one) for key, one in list(value.items())[:LONGEST]}
    if isinstance(value, list):
        return [_cut(one) for one in value[:LONGEST]]
    return named(value) if isinstance(value, str) else value


def _figure(path: Path) -> dict[str, str] | None:
    try:
        with open_image(path) as opened:
            picture = opened.convert("RGB")
    except Exception:  # a damaged file can raise nearly anything from Pillow's parsers
        return None
    picture.thumbnail((FIGURE, FIGURE), Image.Resampling.LANCZOS)
    return {"name": path.stem, "picture": data_uri(picture, quality=88)}


def _shares(head: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, float]:
    return {run["texts"][entry["text"]]["text"]: entry["gain"] or 0.0 for entry in head["basis"]}


def _kinds(head: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, float]:
    return dict(zip(run["properties"], head["shares"], strict=True))


def _moved(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    mine, theirs = sum(one.values()) or 1.0, sum(other.values()) or 1.0
    kept = sum(min(share / mine, other.get(name, 0.0) / theirs) for name, share in one.items())
    # What is left of a sum of equal shares is rounding.
    return round(max(0.0, 1 - kept), 6) if one or other else 0.0
