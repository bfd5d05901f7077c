"""Segment a data set: masks to disk, and metrics where there are masks to compare with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Integer
from PIL import Image

from jaxclip import preprocess as pictures
from jaxclip.analyses.segmentation.masks import foreground, heatmaps, label_pixels, to_pixels
from jaxclip.analyses.segmentation.metrics import Segmented, score_batch
from jaxclip.analyses.segmentation.view import UNSEEN, Box, labels_to_picture, mask_in_view
from jaxclip.analyses.segmentation.windows import label_windows, window_maps
from jaxclip.axes import AnyArray
from jaxclip.clip import Clip
from jaxclip.config import ClipConfig
from jaxclip.data.masks.labels import Masks
from jaxclip.data.masks.mask_files import save_mask
from jaxclip.data.masks.source import Masked, MaskedSource
from jaxclip.devices import sharding
from jaxclip.files.whole import own_folder
from jaxclip.model.nonfinite import check_images
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.numerics.precision import finite
from jaxclip.zeroshot import contrast

Way = Literal["foreground", "classes"]
Frame = Literal["crop", "squash", "released"]


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment.

    Attributes:
      way: "foreground" is the paper's: the class each picture is taken for, against the rest. "classes" finds several
        in one picture, and what is none of them.
      frame: "crop" is the model's own preprocessing, and what it cuts off stays unlabelled; "squash" squeezes the whole
        picture into the model's input; "released" is what the paper's released code measures: the picture cropped,
        its mask squeezed.
      window: slide the model's input over the picture instead, which is first resized to this shorter side, in pixels.
      stride: pixels from window to window; half a window by default.
      batch: pictures, or windows, that go through the model together.
    """

    way: Way = "foreground"
    frame: Frame = "crop"
    window: int | None = None
    stride: int | None = None
    batch: int = 8

    def __post_init__(self) -> None:
        for name, choices in (("way", Way), ("frame", Frame)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}; got {getattr(self, name)!r}.")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1; got {self.batch}.")
        if self.stride is not None and self.window is None:
            raise ValueError("stride is between windows; pass window as well.")


@dataclass(frozen=True)
class Found:
    """One segmented picture: labels at its own resolution (255 where the model did not look), the class it was taken
    for in the paper's way, and its count where it has a mask."""

    name: str
    labels: Integer[np.ndarray, "height width"]
    taken_for: int | None
    scored: Segmented | None


@on_own_terms
def segment_data(
    clip: Clip,
    source: MaskedSource,
    classes: Float[AnyArray, "text embed"],
    options: SegmentOptions = SegmentOptions(),
    *,
    background: Float[AnyArray, "other embed"] | None = None,
    heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None,
    order: Sequence[int] | None = None,
    limit: int | None = None,
    mesh: Mesh | None = None,
) -> Iterator[Found]:
    """Segment picture after picture.

    Labels are class i + 1, or 1 for the foreground in the paper's way, and 0 for the background. Metrics are counted at
    the resolution the model works at; in the paper's way whatever a mask labels above 0 is foreground.

    Args:
      classes: class embeddings.
      background: in the way "classes", further texts for what is none of them.
      heads: True for the heads that count.
      order: where the data has its classes in another order: the label in `classes` of each label of the data, 0 first.
      limit: only the first so many pictures.
      mesh: devices that share a batch of pictures out; by default all of this host. Windows slide on one of them.

    Raises:
      ValueError: a mask of another size than its picture or with labels outside the classes, a window smaller than
        the tower's input, a tower that gives NaN, naming the picture and the layer, and what
        `jaxclip.analyses.segmentation.masks` refuses.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1; got {limit}.")
    check_window(clip.config, options)
    check_masks(source, options.way, len(classes))
    n = len(source) if limit is None else min(limit, len(source))
    mesh = sharding.local_mesh() if mesh is None else mesh
    way, size = (_by_window, 1) if options.window else (_by_frame, options.batch)
    if mesh is not None and not options.window:
        size = sharding.whole_batch(options.batch, mesh)
        options = replace(options, batch=size)
        sharding.check(mesh.shape, clip.config.vision, size)
        clip = replace(clip, vision=sharding.place_vision(clip.vision, mesh))
        way = partial(_by_frame, mesh=mesh)
    for start in range(0, n, size):
        some = [ordered(source[i], order) for i in range(start, min(start + size, n))]
        yield from way(clip, some, classes, options, background, heads)


def check_masks(source: MaskedSource, way: Way, n_classes: int) -> Masks | None:
    """What the numbers in a source's mask files mean, where it reads them from files.

    Raises:
      ValueError: they do not tell.
    """
    masks: Masks | None = getattr(source, "masks", None)
    if masks is not None:
        masks.check(way, n_classes)
    return masks


def check_window(config: ClipConfig, options: SegmentOptions) -> None:
    """Raises ValueError for pictures resized to less than the tower's input, or a stride that would leave gaps."""
    least, window, stride = min(config.vision.image_size), options.window, options.stride
    if window is not None and window < least:
        raise ValueError(
            f"window must be at least the {least} pixels that {config.name} takes; got {window}. For smaller windows "
            f"load the model with a smaller image_size."
        )
    if stride is not None and not 1 <= stride <= least:
        raise ValueError(f"stride must be 1 to {least}, the size of what {config.name} takes; got {stride}.")


@on_own_terms
def write_masks(
    found: Iterator[Found], folder: Path, names: Sequence[str], progress: Callable[[], None] = lambda: None
) -> tuple[list[dict[str, Any]], Segmented | None]:
    """Write every picture's mask as PNG; what is said of each picture, and the count of all.

    Args:
      names: of the classes.
      progress: called after every picture.
    """
    own_folder(folder)
    entries, total, used = [], None, set()
    for i, one in enumerate(found):
        # Names come from the data: no way out of the folder, and none twice.
        stem = "_".join(part for part in Path(one.name).with_suffix("").parts if part not in ("/", "..")) or str(i)
        stem = stem if stem not in used else f"{stem}_{i}"
        used.add(stem)
        path = save_mask(one.labels, folder / f"{stem}.png")
        counts = np.bincount(one.labels.ravel(), minlength=256)
        called = names if one.taken_for is None else (names[one.taken_for],)
        shares = {
            called[k - 1]: float(counts[k] / one.labels.size) for k in np.flatnonzero(counts).tolist() if 0 < k < UNSEEN
        }
        entry = {"name": one.name, "mask": f"{folder.name}/{path.name}", "shares": shares}
        entries.append(entry if one.taken_for is None else entry | {"class": names[one.taken_for]})
        if one.scored is not None:
            total = one.scored if total is None else total + one.scored
        progress()
    return entries, total


def view(
    clip: Clip, some: Sequence[Masked], frame: Frame = "crop"
) -> tuple[Float[np.ndarray, "batch height width channel"], list[Box], list[Any]]:
    """Pictures as the tower takes them, the boxes it sees of them, and their masks in that view (None without one)."""
    config = clip.config.preprocess
    config = replace(config, resize_mode="squash") if frame == "squash" else config
    inputs = pictures.preprocess([one.image for one in some], config)
    boxes = [pictures.crop_box(one.image.size, config) for one in some]
    seen = [_whole(one.image) for one in some] if frame == "released" else boxes
    masks = [
        None if one.mask is None else mask_in_view(one.mask, box, config.size)
        for one, box in zip(some, seen, strict=True)
    ]
    return inputs, boxes, masks


def _by_frame(
    clip: Clip,
    some: list[Masked],
    classes: AnyArray,
    options: SegmentOptions,
    background: Any,
    heads: Any,
    mesh: Mesh | None = None,
) -> Iterator[Found]:
    inputs, boxes, masks = view(clip, some, options.frame)
    # The last batch is filled up, so that one program serves all.
    inputs = np.concatenate([inputs, np.repeat(inputs[-1:], options.batch - len(inputs), axis=0)])
    inputs = inputs if mesh is None else sharding.place_batch(inputs, mesh)
    vision, taken, names = clip.vision, None, [one.name for one in some]
    names += names[-1:] * (len(inputs) - len(some))
    if options.way == "foreground":
        heat, taken = heatmaps(vision, inputs, classes, heads=heads)
        check_images(heat, vision, inputs, names)
        found = foreground(to_pixels(heat, inputs.shape[1:3], vision.config.patch_size))
    else:
        found = label_pixels(vision, inputs, classes, background=background, heads=heads)
        check_images(found.scores, vision, inputs, names)
    labels, scores = np.asarray(found.labels), np.asarray(found.scores)
    taken = None if taken is None else np.asarray(taken)
    for i, one in enumerate(some):
        yield _found(one, labels[i], scores[i], boxes[i], masks[i], None if taken is None else int(taken[i]))


def _by_window(
    clip: Clip, some: list[Masked], classes: AnyArray, options: SegmentOptions, background: Any, heads: Any
) -> Iterator[Found]:
    [one], vision, taken = some, clip.vision, None
    height, width = _sides(one.image, options.window, vision.config.patch_size)
    resized = pictures.resize(one.image, (height, width), clip.config.preprocess)
    image = pictures.normalize(resized, clip.config.preprocess)
    how = {"stride": options.stride, "batch": options.batch, "heads": heads}
    if options.way == "foreground":
        taken = int(_scores(clip, view(clip, some, "squash")[0], classes).argmax())
        heat = window_maps(vision, image, np.asarray(contrast(classes))[taken : taken + 1], **how)
        found = foreground(jnp.asarray(heat))
    else:
        found = label_windows(vision, image, classes, background=background, **how)
        heat = found.scores
    if not finite(heat):
        check_images(heat, vision, view(clip, some, "squash")[0], [one.name])
    box = _whole(one.image)
    mask = None if one.mask is None else mask_in_view(one.mask, box, (height, width))
    yield _found(one, np.asarray(found.labels[0]), np.asarray(found.scores[0]), box, mask, taken)


def _found(one: Masked, labels: np.ndarray, scores: np.ndarray, box: Box, mask: Any, taken: int | None) -> Found:
    """What is kept of a segmentation of one picture."""
    scored = None
    if mask is not None:
        if taken is not None:
            mask = np.where(mask == UNSEEN, UNSEEN, mask > 0).astype(np.int32)
        try:
            scored = score_batch(labels[None], scores[None], mask[None], ignore=UNSEEN)
        except ValueError as error:
            raise ValueError(f"{one.name}: {error}") from error
    return Found(one.name, labels_to_picture(labels, (one.image.height, one.image.width), box), taken, scored)


def ordered(one: Masked, order: Sequence[int] | None) -> Masked:
    """The picture with its mask's labels in the order of the classes asked for."""
    if order is None or one.mask is None:
        return one
    known = (one.mask >= 0) & (one.mask < len(order))
    if not (known | (one.mask == UNSEEN)).all():
        raise ValueError(f"{one.name}: masks must hold labels 0 to {len(order) - 1}; got {one.mask[~known].max()}.")
    return one._replace(mask=np.where(known, np.asarray(order)[np.where(known, one.mask, 0)], UNSEEN).astype(np.int32))


def _sides(image: Image.Image, shorter: int | None, patch: tuple[int, int]) -> tuple[int, int]:
    """Height and width with that shorter side, in whole patches, which leaves few sizes to compile for."""
    scale = (shorter or 1) / min(image.size)
    height, width = (
        max(round(side * scale / step), 1) * step
        for side, step in zip(image.size[::-1], patch, strict=True)
    )  # fmt: skip
    return height, width


def _whole(image: Image.Image) -> Box:
    return 0.0, 0.0, float(image.width), float(image.height)


@jax.jit
def _scores(clip: Clip, images: AnyArray, classes: AnyArray) -> Float[Array, "batch text"]:
    return jnp.einsum("be,se->bs", clip.vision.embed(images), classes, precision="highest")
