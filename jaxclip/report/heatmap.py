"""A picture and texts in; overlays, one figure and results.json out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxclip.analyses.direct_effects import similarities
from jaxclip.analyses.segmentation.view import Box, maps_to_picture
from jaxclip.clip import Clip
from jaxclip.config import VisionConfig
from jaxclip.data.masks.mask_files import save_png
from jaxclip.data.masks.picture_files import PictureReader
from jaxclip.files.whole import write_results
from jaxclip.model.head_names import chosen_heads, head_name
from jaxclip.model.nonfinite import check_images
from jaxclip.model.pooling import CLASS_TOKEN
from jaxclip.model.text_maps import text_maps
from jaxclip.model.token_grid import TokenGrid
from jaxclip.numerics.arrays import counted
from jaxclip.preprocess import crop_box, shown
from jaxclip.report.overlays import Row, for_figure, overlay, overlay_figure, save_overlay_figure
from jaxclip.zeroshot import contrast, text_embeddings

MOST_PANELS = 400


def heatmap_picture(
    clip: Clip,
    image: Path,
    texts: Sequence[str],
    out: Path,
    *,
    heads: Sequence[str] = (),
    each: bool = False,
    relative: bool = True,
    formats: Sequence[str] = ("png",),
    apply_exif: bool | None = None,
) -> dict[str, Any]:
    """Where in a picture attention speaks for each text.

    Writes into `out`: `heatmap.png` (every panel, with colour bars), `overlay_ROW_TEXT.png` (each panel alone, pixel
    for pixel the picture's size; rows and texts are counted from 0) and `results.json`, whose keys are: `model`,
    `picture` (file, size as [height, width], box as [left, top, right, bottom] of what the model saw), `unit`, `heads`
    (the ones summed, as "layer.head"; or "all"), `texts` (each with its `similarity`, the cosine, and its `contrast`,
    that minus the mean of all texts'; what these `heads` add to the one that `unit` names, and `class_token`, the part
    of that at the class token), `rows` (each with `name`, `limit` of its colours, and `maps` [text][row][column], one
    value a patch) and `files`.

    Args:
      heads: the heads that count, as `jaxclip.model.head_names.chosen_heads` reads them; all by default.
      each: a row for each of these heads as well.
      relative: each text minus the mean of all given, where there are several.
      formats: of the figure; png, svg or pdf.
      apply_exif: as `clip.preprocess` takes it.

    Raises:
      ValueError, FileNotFoundError: no texts, a head the model lacks, too many panels, a picture that cannot be read,
        or a model that gives NaN; nothing is written then.
    """
    config, relative = clip.config.vision, relative and len(texts) > 1
    chosen = chosen_heads(heads, config.n_layers, config.n_heads) if heads else None
    places = np.argwhere(np.ones((config.n_layers, config.n_heads)) if chosen is None else chosen)
    if each:
        check_panels(config, heads, len(texts))
    embeddings = text_embeddings(clip, list(texts))
    directions = contrast(embeddings) if relative else embeddings
    photograph = PictureReader(apply_exif).read(image, str(image))
    inputs = clip.preprocess(photograph)
    embedding = np.asarray(clip.encode_image(inputs))
    check_images(embedding, clip.vision, inputs, [str(image)])
    norm = float(np.linalg.norm(embedding))
    cosines = similarities(embedding[0] / norm, embeddings)
    maps = np.asarray(text_maps(clip.vision, inputs, directions, heads=chosen)[1]) / norm
    some = counted(len(places), "head") + " together" * (len(places) > 1)
    names, values = ["all heads" if chosen is None else some], [maps[0]]
    if each:
        every = np.asarray(text_maps(clip.vision, inputs, directions, heads=chosen, each=True)[1])[0] / norm
        names += [f"layer {layer}, head {head}" for layer, head in places]
        values += [every[layer, head] for layer, head in places]
    grids = [TokenGrid.of(config).to_grid(part.T) for part in values]
    # The sum is larger than its parts: it has a scale of its own, and heads share one, for they are to be compared.
    largest = [float(np.abs(grid).max()) for grid in grids]
    limits = [largest[0], *[max(largest[1:], default=0.0)] * (len(grids) - 1)]
    box, picture = crop_box(photograph.size, clip.config.preprocess), shown(photograph, clip.config.preprocess)
    drawn = _Drawn(picture, box, config)
    unit = "direct effect (cosine similarity" + (", minus the texts' mean)" if relative else ")")
    result = {
        "model": clip.config.name,
        "picture": {"file": str(image), "size": list(picture.shape[:2]), "box": list(box)},
        "unit": unit,
        "heads": "all" if chosen is None else [head_name(*place) for place in places],
        "texts": {
            text: {
                **cosines[i],
                "heads": float(maps[0, :, i].sum()),
                "class_token": float(maps[0, CLASS_TOKEN, i]),
            }
            for i, text in enumerate(texts)
        },
        "rows": [
            {"name": name, "limit": limit, "maps": grid.tolist()}
            for name, grid, limit in zip(names, grids, limits, strict=True)
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    found = list(zip(names, grids, limits, strict=True))
    result["files"] = _write(drawn, found, texts, unit, out, formats)
    write_results(out / "results.json", result)
    return result


def check_panels(config: VisionConfig, heads: Sequence[str], n_texts: int) -> None:
    """Refuse a row for each of so many heads that nobody could look at them.

    Raises:
      ValueError: or a head that the model lacks.
    """
    n_heads = config.n_layers * config.n_heads
    n = int(chosen_heads(heads, config.n_layers, config.n_heads).sum()) if heads else n_heads
    if n * n_texts > MOST_PANELS:
        raise ValueError(
            f"a row for each of {counted(n, 'head')}, with {counted(n_texts, 'text')}, makes {n * n_texts} panels, and "
            f"{MOST_PANELS} is the most; choose some heads."
        )


class _Drawn(NamedTuple):
    """A picture that maps are drawn on, and the box of it that the model saw."""

    picture: np.ndarray
    box: Box
    config: VisionConfig

    def maps(self, grid: np.ndarray) -> np.ndarray:
        """Maps at the picture's resolution."""
        return maps_to_picture(
            grid, self.picture.shape[:2], self.box, self.config.image_size, self.config.patch_size
        )  # fmt: skip


def _write(
    drawn: _Drawn,
    found: Sequence[tuple[str, np.ndarray, float]],
    texts: Sequence[str],
    unit: str,
    out: Path,
    formats: Sequence[str],
) -> list[str]:
    small = _Drawn(*for_figure(drawn.picture, drawn.box), drawn.config)
    rows = [Row(name, small.maps(grid), limit) for name, grid, limit in found]
    figure, files = overlay_figure(small.picture, rows, texts, unit), []
    for suffix in formats:
        files.append(save_overlay_figure(figure, out / f"heatmap.{suffix}").name)
    for i, (_, grid, limit) in enumerate(found):
        for j, one in enumerate(grid):
            files.append(f"overlay_{i}_{j}.png")
            save_png(Image.fromarray(overlay(drawn.picture, drawn.maps(one), limit)), out / files[-1])
    return files
