"""Class names and data in; masks, a table and results out."""

from collections.abc import Sequence
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxclip.analyses.segmentation.metrics import Segmented, remarks
from jaxclip.analyses.segmentation.named_classes import Named
from jaxclip.analyses.segmentation.segment_data import SegmentOptions, check_masks, ordered, segment_data, write_masks
from jaxclip.analyses.segmentation.view import UNSEEN
from jaxclip.clip import Clip
from jaxclip.data.masks.mask_files import read_mask
from jaxclip.data.masks.source import MaskedSource, Maskless
from jaxclip.model.head_names import chosen_heads
from jaxclip.numerics.arrays import counted
from jaxclip.preprocess import shown
from jaxclip.report.figures import save_all
from jaxclip.report.masks import Shown, masks_figure
from jaxclip.report.progress import bar
from jaxclip.report.stages import stages
from jaxclip.report.tables import print_numbers
from jaxclip.zeroshot import class_embeddings

MOST_SHOWN, MOST_SIDE = 9, 2048
LEAST_SHARE = 0.01
"""Of a picture, for a class to be named above it."""


def segment_to_folder(
    clip: Clip,
    source: MaskedSource,
    named: Named,
    options: SegmentOptions,
    out: Path,
    *,
    order: Sequence[int] | None = None,
    heads: Sequence[str] = (),
    limit: int | None = None,
    metrics: bool = True,
    formats: Sequence[str] = ("png",),
) -> dict[str, Any]:
    """Segment a data set into `out/masks`, draw the first few in `pictures.png` and print what it scores.

    Returns:
      `model`, `way`, `frame`, `window`, `classes`, `background`, `heads`, `n_images`; `masks`, how the numbers in mask
      files were read; `metrics` as `jaxclip.analyses.segmentation.metrics.Segmented.to_dict` has them, None without
      masks; `notes`, why they say nothing, if so; `class_iou`, the same by name (in the paper's
      way: background and foreground); and `images`, each with `name`, `mask` (its file; label i + 1 is class i,
      in the paper's way 1 is the foreground; 255 was not seen), `shares` of the picture by class, and, in the paper's
      way, the `class` it is taken for; and the figure's `files`.
    """
    config = clip.config.vision
    chosen = chosen_heads(heads, config.n_layers, config.n_heads) if heads else None
    with stages("segment") as at:
        at("encoding classes")
        embeddings = class_embeddings(clip, named.prompts)
    n = len(named.classes)
    source = source if metrics else Maskless(source)
    found = segment_data(
        clip, source, embeddings[:n], options,
        background=embeddings[n:] if named.background else None, heads=chosen, order=order, limit=limit,
    )  # fmt: skip
    n_images, done = min(len(source), limit or len(source)), count(1)
    with bar(clip.config.name) as progress:
        images, total = write_masks(found, out / "masks", named.classes, lambda: progress(next(done), n_images))
    labels = ("background", "foreground") if options.way == "foreground" else ("background", *named.classes)
    with stages("segment") as at:
        at("figure")
        few = [
            _shown(clip, source, place, entry, out, options, order) for place, entry in enumerate(images[:MOST_SHOWN])
        ]
        figures = save_all(masks_figure(few, labels[1:]), out / "pictures", formats)
    notes = [] if total is None else remarks(total)
    if total is not None:
        _print(clip.config.name, total, labels)
    masks = check_masks(source, options.way, n)
    scored = None if total is None else total.to_dict()
    apart = named.classes if options.way == "classes" else ()
    return {
        "model": clip.config.name,
        "way": options.way,
        "frame": options.frame if options.window is None else None,
        "window": options.window,
        "classes": list(named.classes),
        "background": list(named.background),
        "heads": list(heads) or "all",
        "n_images": len(images),
        "masks": None if masks is None or scored is None else masks.sentence(apart),
        "metrics": scored,
        "notes": notes,
        "class_iou": None if scored is None else dict(zip(labels, scored["class_iou"], strict=True)),
        "images": images,
        "files": [path.name for path in figures],
    }


def _shown(
    clip: Clip,
    source: MaskedSource,
    place: int,
    entry: dict[str, Any],
    out: Path,
    options: SegmentOptions,
    order: Any,
) -> Shown:
    """A segmented picture, read back from where it was written."""
    one = ordered(source[place], order)
    truth = one.mask
    if options.way == "foreground" and truth is not None:
        truth = np.where(truth == UNSEEN, UNSEEN, truth > 0).astype(np.int32)
    largest = sorted(((share, name) for name, share in entry["shares"].items() if share > LEAST_SHARE), reverse=True)
    found = entry.get("class") or ", ".join(name for _, name in largest) or "nothing"
    picture = shown(one.image, clip.config.preprocess)
    labels = read_mask(out / entry["mask"], beside=lambda: one.image.width * one.image.height)
    step = ceil(max(labels.shape) / MOST_SIDE)  # a figure draws no more, and nine large ones would fill the memory
    small = np.asarray(Image.fromarray(picture).reduce(step))
    coarse = None if truth is None else truth[::step, ::step]
    return Shown(one.name, f"found: {found}", small, labels[::step, ::step], coarse)


def _print(name: str, total: Segmented, labels: Sequence[str]) -> None:
    rows = {
        "pixel accuracy": [f"{total.pixel_accuracy:.2%}"],
        "mean IoU": [f"{total.mean_iou():.2%}"],
        "mean AP": [f"{total.mean_ap:.2%}"],
    }
    rows |= {
        f"IoU of {label}": [f"{iou:.2%}"] for label, iou in zip(labels, total.class_iou, strict=True) if iou == iou
    }
    print_numbers(f"{name}: {counted(total.n_images, 'picture')} with masks", rows, ("metric", ""))
