"""`jaxclip heatmap`: where in a picture a model sees texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxclip.cli.checks import check_folder, check_heads, check_least, check_texts, pictures, resolve, say
from jaxclip.config import DType, Precision


@dataclass(frozen=True)
class Heatmap:
    """Where in a picture attention speaks for each text: overlays at the picture's own resolution, with a legend.

    jaxclip heatmap scenes scenes/7 "a star" "a circle" "grass" --heads 4.1 5 --out scenes_maps
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A converted folder or anything convert takes; "scenes" is the model that comes with jaxclip."""
    image: Positional[Annotated[Path, arg(metavar="IMAGE")]]
    """A picture of any size; scenes/7 is one that is drawn."""
    texts: Positional[Annotated[tuple[str, ...], arg(metavar="TEXT [TEXT ...]")]]
    """What to look for; quote each."""
    out: Path
    """A folder for results.json, the figure and the overlays."""
    heads: tuple[str, ...] = ()
    """Only these heads, as layer.head, or layer for all of a layer, counted from 0; all by default."""
    each: bool = False
    """One row of panels for each of these heads as well: what one head says about one text, where."""
    relative: bool = True
    """Each text minus the mean of all given; --no-relative for each by itself."""
    apply_exif: bool = False
    """Turn photographs as their EXIF tag says; CLIP's libraries do not."""
    format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figure."""
    dtype: DType = "float32"
    """The model calculates in."""
    precision: Precision = "highest"
    """Of float32 products, on hardware that can cut them short: "tensorfloat32" is what a GPU does fast."""
    image_size: int | None = None
    """Run at another input size, with resized position embeddings."""

    def run(self) -> dict[str, Any]:
        if not self.texts:
            raise ValueError('no texts: pass at least one after the picture, such as "a dog".')
        check_texts(self.texts)
        check_heads(self.heads)
        check_least(image_size=self.image_size)
        check_folder(self.out)
        from jaxclip.numerics.arrays import counted
        from jaxclip.report.stages import stages

        with stages("heatmap") as at:
            at("starting")
            import jaxclip
            from jaxclip.cli.inputs import model_config, say_cut
            from jaxclip.report.heatmap import check_panels, heatmap_picture
            from jaxclip.report.tables import print_numbers

            config = model_config(self.model, image_size=self.image_size, heads=self.heads)
            if self.each:
                check_panels(config.vision, self.heads, len(self.texts))
            (image,) = pictures([self.image], self.out)
            at("loading the model")
            clip = jaxclip.load(
                resolve(self.model), dtype=self.dtype, precision=self.precision, image_size=self.image_size
            )
            at("maps and pictures")
            result = heatmap_picture(
                clip, image, self.texts, self.out, heads=self.heads, each=self.each, relative=self.relative,
                formats=self.format, apply_exif=self.apply_exif or None,
            )  # fmt: skip
        say_cut(clip, self.texts)
        relative = "minus" in result["unit"]
        parts = ("similarity", "contrast", "heads") if relative else ("similarity", "heads")
        shown = {text: [f"{found[part]:+.4f}" for part in parts] for text, found in result["texts"].items()}
        columns = (
            "text",
            "similarity",
            *(["minus the texts' mean"] * relative),
            f"of it by {result['rows'][0]['name']}",
        )
        print_numbers(f"{image.stem}: {result['unit']}", shown, columns)
        say(f"wrote {self.out / 'results.json'} and {counted(len(result['files']), 'picture')}")
        return result
