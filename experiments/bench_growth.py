"""How cost grows with images, texts, heads, depth and image size: medians of turns, an exponent for each, and a plot.

python experiments/bench_growth.py                      # writes docs/images/growth.svg too
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from bench_textspan import directions, stack_of_heads
from benching import by_turns, exponent, measure, parser, photographs, pictures, temporary, tower
from matplotlib.figure import Figure
from showing import BLUE, GREY, save

import jaxclip
from jaxclip.analyses.textspan import head_bases
from jaxclip.data.open_data import open_data
from jaxclip.runs.run_pass import PassOptions, run_pass

PLOT = Path(__file__).resolve().parents[1] / "docs" / "images" / "growth.svg"


def main() -> None:
    arguments = parser(__doc__, repeats=5, model="ViT-S-16", batch=4)
    arguments.add_argument("--plot", type=Path, default=PLOT)
    arguments.add_argument("--images", type=int, nargs="+", default=[100, 200, 400, 800], help="of a pass")
    options = arguments.parse_args()
    found: dict[str, Any] = {}
    parts = {name: partial(growth, name, case, found) for name, case in CASES.items()}
    measure("bench_growth", options, parts)
    draw(found, options.plot)


def growth(name: str, case: Callable[..., Any], found: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds at every size, taken by turns, and the exponent of the power law through their medians."""
    with temporary() as folder:
        runs = dict(case(options, Path(folder)))
        taken = by_turns({str(size): run for size, run in runs.items()}, options.repeats, str(min(runs)))
    medians = [taken[str(size)]["seconds"]["median"] for size in runs]
    found[name] = {"sizes": list(runs), "seconds": medians, "exponent": exponent(list(runs), medians)}
    return found[name] | {"quartiles": [[taken[str(n)]["seconds"][end] for end in ("low", "high")] for n in runs]}


Case = Iterator[tuple[int, Callable[[], Any]]]


def over_images(options: argparse.Namespace, folder: Path) -> Case:
    """A whole pass by the model that comes with jaxclip, over small photographs; starting it costs the same for all."""
    clip, number = jaxclip.load("scenes"), count()
    many = str(photographs(folder / "photos", max(options.images), (128, 96)))
    for n in options.images:
        source = open_data(many, limit=n)

        def run(source: Any = source) -> None:
            run_pass(clip, source, folder / f"run_{next(number)}", PassOptions(batch=50))

        yield n, run


def over_texts(options: argparse.Namespace, folder: Path) -> Case:
    """The bases of twelve heads, 20 steps."""
    stack = stack_of_heads("ViT-B-16", 1)
    for n in (1000, 4000, 16000):
        texts = directions(n, 512)
        yield n, lambda texts=texts: head_bases(stack, texts, steps=20)


def over_maps(options: argparse.Namespace, folder: Path) -> Case:
    """Text maps of one batch: few texts go through every layer, many meet the layers once."""
    vision = tower(options.model)
    images = pictures(vision, options.batch)
    for n in (100, 400, 1600, 6400):
        texts = directions(n, vision.config.embed_dim)
        yield n, lambda texts=texts: vision.map(images, texts)


def over_heads(options: argparse.Namespace, folder: Path) -> Case:
    """Bases from 3,498 texts, 20 steps."""
    texts = directions(3498, 512)
    for layers in (1, 3, 12):
        stack = stack_of_heads("ViT-B-16", layers)
        yield 12 * layers, lambda stack=stack: head_bases(stack, texts, steps=20)


def over_depth(options: argparse.Namespace, folder: Path) -> Case:
    """Contributions of every head."""
    for depth in (3, 6, 12, 24):
        vision = tower(options.model, depth)
        yield depth, partial(vision, pictures(vision, options.batch), detail="head")


def over_size(options: argparse.Namespace, folder: Path) -> Case:
    """Contributions of every head, by pixels of a side: patches grow with the square."""
    for side in (112, 160, 224, 320, 448):
        vision = tower(options.model, image_size=(side, side))
        yield side, partial(vision, pictures(vision, options.batch), detail="head")


CASES: dict[str, Callable[..., Case]] = {
    "images of a pass": over_images,
    "texts of TextSpan": over_texts,
    "texts of maps": over_maps,
    "heads of TextSpan": over_heads,
    "layers": over_depth,
    "pixels of a side": over_size,
}


def draw(found: dict[str, Any], path: Path) -> None:
    """One panel a case, both axes logarithmic, with the fitted line."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    for place, (name, case) in enumerate(found.items()):
        axis = figure.add_subplot(2, 3, place + 1)
        sizes, seconds = np.array(case["sizes"], float), np.array(case["seconds"])
        middle = np.exp(np.mean(np.log(seconds) - case["exponent"] * np.log(sizes)))
        axis.plot(sizes, middle * sizes ** case["exponent"], color=GREY)
        axis.plot(sizes, seconds, "o", color=BLUE)
        axis.set(xscale="log", yscale="log", xlabel=name, title=f"exponent {case['exponent']:.2f}")
        axis.set_xticks(sizes, [f"{int(size):,}" for size in sizes])
        ends = sorted({seconds.min(), seconds.max()})
        axis.set_yticks(ends, [f"{x:.2g}" for x in ends])
        axis.minorticks_off()
        if place % 3 == 0:
            axis.set_ylabel("seconds")
    save(figure, path)


if __name__ == "__main__":
    main()
