"""The paper's table of zero-shot segmentation: text maps beside every baseline, for one model and data set; and
the cost of maps beside the reference's route, which forms every contribution and contracts it with the texts.

    python experiments/compare_segmenters.py scenes                            # 200 scenes, whose masks are exact
    python experiments/compare_segmenters.py ViT-L-14/openai --data gtsegs_ijcv.mat --classes imagenet_names.txt \\
        --frame released --limit 4276 --out table.json
    python experiments/compare_segmenters.py scenes --only cost --texts 1000

Source: arXiv:2310.05916, section 5, table 4.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from showing import print_numbers

import jaxclip
from jaxclip.analyses.segmentation.baselines import BASELINES
from jaxclip.analyses.segmentation.masks import foreground, heatmaps, to_pixels
from jaxclip.analyses.segmentation.metrics import Segmented, score_batch
from jaxclip.analyses.segmentation.named_classes import Named
from jaxclip.analyses.segmentation.relevance import RELEVANCE
from jaxclip.analyses.segmentation.segment_data import Frame, view
from jaxclip.analyses.segmentation.view import UNSEEN
from jaxclip.clip import Clip
from jaxclip.data.masks.open_masked import open_masked
from jaxclip.data.masks.source import Masked, MaskedSource
from jaxclip.model.text_maps import text_maps
from jaxclip.zeroshot import class_embeddings, contrast

METHODS: dict[str, Callable[..., Any]] = RELEVANCE | BASELINES


def compare(
    clip: Clip, source: MaskedSource, classes: Any, n: int, batch: int, frame: Frame = "crop"
) -> dict[str, Segmented]:
    """Every method's masks of the class each picture is taken for, scored; text maps first."""
    vision, relative, totals = clip.vision, contrast(classes), {}
    for some in batched(islice(of_one_class(source), n), batch):
        inputs, _, masks = view(clip, some, frame)
        # The last batch is filled up, so that one program serves all.
        inputs = np.concatenate([inputs, np.repeat(inputs[-1:], batch - len(inputs), axis=0)])
        masks = [np.where(mask == UNSEEN, UNSEEN, mask > 0).astype(np.int32) for mask in masks]
        heat, taken = heatmaps(vision, inputs, classes)
        heats = {"text maps": heat}
        heats |= {name: method(vision, inputs, relative[taken]) for name, method in METHODS.items()}
        for name, heat in heats.items():
            found = foreground(to_pixels(heat, inputs.shape[1:3], vision.config.patch_size))
            for i, mask in enumerate(masks):
                labels, scores = np.asarray(found.labels[i]), np.asarray(found.scores[i])
                scored = score_batch(labels[None], scores[None], mask[None], ignore=UNSEEN)
                totals[name] = totals[name] + scored if name in totals else scored
    return totals


def of_one_class(source: MaskedSource) -> Iterator[Masked]:
    """The pictures of one class of things each: what one class is taken for cannot be right about two."""
    for one in map(source.__getitem__, range(len(source))):
        if one.mask is None:
            raise ValueError(f"{one.name} has no mask; comparing needs one for every picture.")
        if len(set(np.unique(one.mask)) - {0, UNSEEN}) == 1:
            yield one


def batched(items: Iterator[Masked], size: int) -> Iterator[list[Masked]]:
    while some := list(islice(items, size)):
        yield some


def cost(clip: Clip, n_texts: int, batch: int, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds and bytes of the maps of all heads: inside the scan, and by way of every contribution.

    Bytes are what the compiled program needs beside its arguments. The two are run by turns.
    """
    config = clip.config.vision
    images = np.random.default_rng(0).standard_normal((batch, *config.image_size, 3)).astype(np.float32)
    texts = np.random.default_rng(1).standard_normal((n_texts, config.embed_dim)).astype(np.float32)

    def scanned(vision: Any, images: Any, texts: Any) -> Any:
        return text_maps(vision, images, texts)[1]

    def materialised(vision: Any, images: Any, texts: Any) -> Any:
        return jnp.einsum("blhte,se->bts", vision(images)[1].attn, texts, precision="highest")

    programs, found = {}, {}
    for name, route in (("inside the scan", scanned), ("materialise, then contract", materialised)):
        program = jax.jit(route).lower(clip.vision, images, texts).compile()
        memory = program.memory_analysis()
        assert memory is not None
        found[name] = {"bytes": memory.temp_size_in_bytes + memory.output_size_in_bytes, "seconds": []}
        programs[name] = program
    results = {name: np.asarray(program(clip.vision, images, texts)) for name, program in programs.items()}
    ours, theirs = results.values()
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    for _ in range(repeats):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(clip.vision, images, texts))
            found[name]["seconds"].append(time.perf_counter() - start)
    return {
        name: {"bytes": row["bytes"], "seconds": float(np.median(row["seconds"])), "largest_difference": error}
        for name, row in found.items()
    }


def show_table(title: str, totals: dict[str, Segmented]) -> None:
    rows = {
        name: [f"{100 * x:.2f}" for x in (total.pixel_accuracy, total.mean_iou(), total.mean_ap)]
        for name, total in totals.items()
    }
    print_numbers(title, rows, ("method", "pixel accuracy", "mean IoU", "mean AP"))


def show_cost(title: str, found: dict[str, dict[str, float]]) -> None:
    rows = {name: [f"{1000 * row['seconds']:.1f}", f"{row['bytes'] / 2**20:.1f}"] for name, row in found.items()}
    print_numbers(title, rows, ("text maps", "ms", "MiB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help='a converted folder, any source jaxclip.load takes, or "scenes"')
    parser.add_argument("--data", default="scenes", help="as jaxclip segment takes it")
    parser.add_argument("--masks", type=Path, help="as jaxclip segment takes it")
    parser.add_argument("--split")
    parser.add_argument(
        "--classes", nargs="+", default=(), help="what the pictures may be of, or a file with one a line"
    )
    parser.add_argument("--frame", choices=("crop", "squash", "released"), default="crop")
    parser.add_argument("--limit", type=int, default=200, help="pictures, of one class of things each")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--texts", type=int, default=1000, help="of the maps whose cost is measured")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("table", "cost"))
    parser.add_argument("--out", type=Path, help="JSON")
    options = parser.parse_args()
    if min(options.limit, options.batch, options.texts, options.repeats) < 1:
        parser.error("--limit, --batch, --texts and --repeats must be at least 1")
    results: dict[str, Any] = {"device": jax.devices()[0].device_kind}
    opened = None
    if options.only != "cost":
        source = open_masked(options.data, masks=options.masks, split=options.split)
        opened = source, Named.read(source, options.classes, ())
    clip = jaxclip.load(options.model)
    results["model"] = clip.config.name
    if opened is not None:
        source, named = opened
        classes = class_embeddings(clip, named.prompts)
        totals = compare(clip, source, classes, options.limit, options.batch, options.frame)
        if not totals:
            parser.error(f"{options.data} has no picture of one class of things")
        n = totals["text maps"].n_images
        show_table(f"{clip.config.name}: foreground of {n} pictures of {options.data}, per cent", totals)
        results |= {"data": options.data, "n_images": n, "frame": options.frame}
        results["table"] = {name: total.to_dict() for name, total in totals.items()}
    if options.only != "table":
        results["cost"] = cost(clip, options.texts, options.batch, options.repeats)
        show_cost(f"{clip.config.name}: maps of {options.texts} texts, batch {options.batch}", results["cost"])
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
