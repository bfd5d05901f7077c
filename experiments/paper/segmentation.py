"""Zero-shot segmentation of ImageNet-Segmentation by text maps, beside every baseline.

    python experiments/paper/segmentation.py --data gtsegs_ijcv.mat
    python experiments/paper/segmentation.py --scenes

In the paper: section 5, the table of segmentation on ImageNet-Segmentation: pixel accuracy, mean IoU and mean AP of raw
attention, rollout, Grad-CAM, LRP, partial LRP, transformer attribution and the decomposition.

Reads: gtsegs_ijcv.mat (needs h5py: pip install 'jaxclip[segmentation]'), OpenCLIP models by name. Classes are
ImageNet's 1,000 in WordNet's words, or a file with --classes.
Takes: for every picture a forward pass a method and, for some baselines, a backward one, so several times the pass that
`--cost` tells, and more memory than it; how much was not measured. Nothing is kept on disk.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import Setting, Values, main, with_scenes
from compare_segmenters import compare, show_table

import jaxclip
from jaxclip.analyses.segmentation.named_classes import Named
from jaxclip.data.class_names import class_words
from jaxclip.data.masks.open_masked import open_masked
from jaxclip.zeroshot import class_embeddings


@dataclass(frozen=True)
class Segmentation(Setting):
    """Besides: how a picture is brought to the model, as `jaxclip segment` has it; "released" is the paper's."""

    frame: Literal["crop", "squash", "released"] = "released"


REAL = Segmentation(data="gtsegs_ijcv.mat", n_images=4276, batch=8)
SCENES = with_scenes(REAL, limit=100, n_images=100, batch=20, frame="crop")


def measure(setting: Segmentation, model: str, out: Path) -> Values:
    source = open_masked(setting.data, split=setting.split)
    asked = (str(setting.classes),) if setting.classes else ()
    if not asked and source.class_names is None:
        asked = tuple(class_words("imagenet").values())
    clip = jaxclip.load(model)
    classes = class_embeddings(clip, Named.read(source, asked, ()).prompts)
    totals = compare(clip, source, classes, setting.limit or len(source), setting.batch, setting.frame)
    show_table(f"{model}: foreground, per cent", totals)
    return {
        f"{name}, {words}": 100 * float(value)
        for name, total in totals.items()
        for words, value in (
            ("pixel accuracy", total.pixel_accuracy), ("mean IoU", total.mean_iou()), ("mean AP", total.mean_ap),
        )
    }  # fmt: skip


def run(arguments: list[str] | None = None) -> dict[str, Values]:
    return main("segmentation", __doc__, REAL, SCENES, measure, arguments)


if __name__ == "__main__":
    run()
