"""Pictures in, results.json and two figures a picture out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxclip.analyses.direct_effects import direct_effects
from jaxclip.clip import Clip
from jaxclip.files.images import read_picture
from jaxclip.files.whole import write_results
from jaxclip.preprocess import crop_box, shown
from jaxclip.report.figures import effects_figure, map_figure, save_all
from jaxclip.report.overlays import for_figure
from jaxclip.report.tables import print_numbers
from jaxclip.zeroshot import contrast, text_embeddings


def decompose_pictures(
    clip: Clip,
    images: Sequence[Path],
    texts: Sequence[str],
    out: Path,
    *,
    relative: bool,
    formats: Sequence[str] = ("png",),
    apply_exif: bool | None = None,
) -> dict[str, Any]:
    """Explain each picture's similarity to each text.

    `terms_sum_to` in the result says what the terms of each text sum to: "similarity", the cosine, or, relative to
    the other texts, "contrast", the cosine minus the mean of all texts' (see
    `jaxclip.analyses.direct_effects.Effects.to_dict`).

    Writes `out/results.json`, and for every picture `NAME_map.png` (where) and `NAME_heads.png` (which heads), or
    in other formats. `apply_exif` as `clip.preprocess` takes it.

    Raises:
      ValueError, FileNotFoundError: a picture that cannot be read, no pictures, no texts; nothing is written then.
    """
    relative = relative and len(texts) > 1
    embeddings = text_embeddings(clip, list(texts))
    directions = contrast(embeddings) if relative else embeddings
    inputs = clip.preprocess(list(images), apply_exif=apply_exif)
    unit = "direct effect (cosine similarity" + (", minus the texts' mean)" if relative else ")")
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"model": clip.config.name, "texts": list(texts), "unit": unit,
                              "terms_sum_to": "contrast" if relative else "similarity", "pictures": {}}  # fmt: skip
    for name, path, pixels in zip(_names(images), images, inputs, strict=True):
        effects = direct_effects(clip, pixels, directions, str(path))
        total = effects.init + effects.heads.sum((0, 1)) + effects.mlp.sum(0)
        entry = {"file": str(path), "sum_error": float(np.abs(total - effects.total).max())}
        result["pictures"][name] = entry | {"texts": effects.to_dict(texts, embeddings)}
        picture = read_picture(path, apply_exif=apply_exif).image
        box, seen = crop_box(picture.size, clip.config.preprocess), shown(picture, clip.config.preprocess)
        seen, box = for_figure(seen, box)
        save_all(map_figure(seen, effects.map(), texts, box, unit), out / f"{name}_map", formats)
        best = int(effects.total.argmax())
        figure = effects_figure(effects.heads[:, :, best], effects.mlp[:, best], texts[best], unit)
        save_all(figure, out / f"{name}_heads", formats)
    write_results(out / "results.json", result)
    return result


def print_decomposition(result: dict[str, Any], most: int = 4) -> None:
    """Each text's similarity as the sum it is, and the heads that say most of it, for the terminal."""
    relative = result["terms_sum_to"] == "contrast"
    whole = ("similarity", "minus the texts' mean") if relative else ("similarity",)
    columns = ("text", *whole, "= input", "+ attention", "+ MLPs", "strongest heads (layer.head)")
    rest = " minus the texts' mean" if relative else ""
    for name, picture in list(result["pictures"].items())[:most]:
        rows = {}
        for text, found in picture["texts"].items():
            wholes = [found[name] for name in ("similarity", "contrast")[: len(whole)]]
            parts = (*wholes, found["init"], sum(found["attention_by_layer"]), sum(found["mlp_by_layer"]))
            heads = [f"{one['layer']}.{one['head']} {one['effect']:+.3f}" for one in found["strongest_heads"][:3]]
            rows[text] = (*(f"{value:+.4f}" for value in parts), ", ".join(heads))
        print_numbers(f"{name}: cosine similarity, and direct effects that sum to it{rest}", rows, columns)


def _names(images: Sequence[Path]) -> list[str]:
    """File stems, numbered where two pictures share one."""
    stems = [path.stem for path in images]
    return [stem if stems.count(stem) == 1 else f"{stem}_{i}" for i, stem in enumerate(stems)]
