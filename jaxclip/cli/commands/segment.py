"""`jaxclip segment`: what is where, from class names alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxclip.cli.checks import check_folder, check_heads, check_least, check_picture, resolve, say, write_json
from jaxclip.config import DType, Precision


@dataclass(frozen=True)
class Segment:
    """Masks from class names alone, one for every picture as PNG; metrics where the data has masks.

    jaxclip segment scenes scenes --split test --limit 60 --out scenes_masks
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A converted folder or anything convert takes; "scenes" is the model that comes with jaxclip."""
    data: Positional[Annotated[str, arg(metavar="DATA")]]
    """A picture, a folder of pictures (or of images/ and masks/), Pascal VOC's folder, gtsegs_ijcv.mat, a tfds folder
    or name, or "scenes"."""
    out: Path
    """A folder for results.json, masks/ and a figure of the first few."""
    classes: tuple[str, ...] = ()
    """What may be in the pictures, or a file with one a line; the data's own classes by default."""
    background: tuple[str, ...] = ()
    """With --way classes: what else may be there and is none of the classes, such as sky or grass."""
    way: Literal["foreground", "classes"] = "foreground"
    """As in the paper, the one class a picture is taken for; or several classes at once, with background."""
    templates: Path | None = None
    """A file of one prompt a line with {} where the class goes. Default: "a photo of a {}."."""
    masks: Path | None = None
    """A folder of masks under the pictures' names, where they do not lie with the data."""
    mask_background: int | None = None
    """The label of the background in mask files, if it is not 0."""
    mask_ignore: tuple[int, ...] = ()
    """Labels of pixels that do not count. Default: 255, where there are other labels beside it."""
    mask_first: int | None = None
    """The label of the first class in mask files; the others follow it. 0 if there is no background before it."""
    mask_threshold: int | None = None
    """Masks are greys, and from this one on a pixel is the object: 128, where edges are smooth."""
    mask_colours: str | None = None
    """Masks are colours: a file with red, green and blue of label 0, 1, ... a line, or "voc" for Pascal VOC's."""
    split: str | None = None
    """Of data that has splits."""
    limit: int | None = None
    """Only the first so many pictures."""
    frame: Literal["crop", "squash", "released"] = "crop"
    """What the model sees: what its own preprocessing crops, the whole picture squeezed, or, for the paper's numbers,
    the picture cropped and its mask squeezed."""
    window: int | None = None
    """Slide the model over the picture, resized to this shorter side in pixels."""
    stride: int | None = None
    """Pixels from window to window; half a window by default."""
    apply_exif: bool = False
    """Turn photographs as their EXIF tag says; CLIP's libraries do not."""
    heads: tuple[str, ...] = ()
    """Only these heads, as layer.head, or layer for all of a layer, counted from 0; all by default."""
    batch: int = 8
    """Pictures, or windows, of one step."""
    dtype: DType = "float32"
    """The model calculates in."""
    precision: Precision = "highest"
    """Of float32 products, on hardware that can cut them short: "tensorfloat32" is what a GPU does fast."""
    image_size: int | None = None
    """Run at another input size, with resized position embeddings."""
    format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figure."""
    metrics: bool = True
    """--no-metrics leaves the data's masks alone."""

    def run(self) -> dict[str, Any]:
        check_folder(self.out)
        check_heads(self.heads)
        check_least(limit=self.limit, image_size=self.image_size, window=self.window, stride=self.stride)
        from jaxclip.numerics.arrays import counted
        from jaxclip.report.stages import stages

        with stages("segment") as at:
            at("starting")
            import jaxclip
            from jaxclip.analyses.segmentation.named_classes import Named
            from jaxclip.analyses.segmentation.segment_data import SegmentOptions, check_masks, check_window
            from jaxclip.cli.inputs import model_config
            from jaxclip.data.masks.labels import MaskLabels
            from jaxclip.data.masks.mask_files import read_colours
            from jaxclip.data.masks.open_masked import open_masked
            from jaxclip.files.images import suffixes
            from jaxclip.report.segment import segment_to_folder

            options = SegmentOptions(self.way, self.frame, self.window, self.stride, self.batch)
            if Path(self.data).suffix.lower() in suffixes() and Path(self.data).is_file():
                check_picture(Path(self.data))
            exif = self.apply_exif or None
            colours = None if self.mask_colours is None else read_colours(self.mask_colours)
            labels = MaskLabels(
                self.mask_background, self.mask_ignore or None, self.mask_first, self.mask_threshold, colours
            )
            source = open_masked(
                self.data, masks=self.masks, split=self.split, apply_exif=exif, labels=labels, limit=self.limit
            )
            named = Named.read(source, self.classes, self.background, self.templates)
            named.check(options)
            order = named.order(source) if self.metrics and self.way == "classes" else None
            check_window(model_config(self.model, image_size=self.image_size, heads=self.heads), options)
            if self.metrics and getattr(source, "masks", None) is not None:
                at("reading masks")
                check_masks(source, self.way, len(named.classes))
            at("loading the model")
            clip = jaxclip.load(
                resolve(self.model), dtype=self.dtype, precision=self.precision, image_size=self.image_size
            )
        result = segment_to_folder(
            clip, source, named, options, self.out, order=order, heads=self.heads, limit=self.limit,
            metrics=self.metrics, formats=self.format,
        )  # fmt: skip
        write_json(self.out / "results.json", result)
        files = ", ".join([str(self.out / "results.json"), *result["files"]])
        unmeasured = "" if result["metrics"] or not self.metrics else "; the data has no masks to measure them by"
        for note in [result["masks"], *result["notes"]]:
            say(note) if note else None
        say(f"wrote {files} and {counted(result['n_images'], 'mask')} in {self.out / 'masks'}{unmeasured}")
        return result
