"""A pass over photographs: what collecting moments adds to the plain forward pass, the whole beside the sum of its
parts, how many photographs a second are read, and whether memory depends on their number.

    python experiments/bench_pass.py                        # ViT-B-16 over 48 photographs, scenes for memory
"""

import argparse
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benching import Runs, by_turns, checkpoint, measure, parser, peak_of, photographs, pictures, temporary, tower

import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.runs.bank_writer import BankWriter, create_bank
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.folder import model_hash
from jaxclip.runs.loader import batches
from jaxclip.runs.run_pass import PassOptions, run_pass
from jaxclip.runs.step import step

PASS = """
import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.runs.run_pass import PassOptions, run_pass
clip, source = jaxclip.load("scenes"), open_data(sys.argv[1], limit=int(sys.argv[2]))
run_pass(clip, source, sys.argv[3], PassOptions(batch=100, bank=True))
print(peak())
"""


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--images", type=int, default=48, help="of the pass that is taken apart")
    arguments.add_argument("--many", type=int, nargs=2, default=[500, 5000], help="images of the passes for memory")
    options = arguments.parse_args()
    measure("bench_pass", options, {"moments": moments, "parts": parts, "memory": memory})


def moments(options: argparse.Namespace) -> dict[str, Any]:
    """The step of a pass, which collects the moments of every component, beside the plain pass over as many images."""
    vision = tower(options.model)
    images = pictures(vision, options.batch)
    runs: Runs = {"plain": lambda: vision.embed(images), "moments": stepping(vision, images)}
    return by_turns(runs, 2 * options.repeats, "plain")


def stepping(vision: Any, images: Any) -> Any:
    held, weights = [{"all": Collected.zero(vision.config)}], jnp.ones(len(images))

    def run() -> Any:
        held[0], *rest = step(held[0], vision, images, weights, {}, "normalized")
        return held[0], rest

    return run


def parts(options: argparse.Namespace) -> dict[str, Any]:
    """`jaxclip run` with a bank over photographs on the disk, and each of its parts alone over the same ones."""
    with temporary() as name:
        folder = Path(name)
        checkpoint(options.model, folder / "model")
        clip = jaxclip.load(folder / "model")
        source = open_data(str(photographs(folder / "photos", options.images)))
        collected = PassOptions(batch=options.batch, bank=True)
        order = collected.order(clip.config.vision, len(source))
        read = partial(batches, source, clip.config.preprocess, order)
        ready, number = list(read()), count()
        compute = stepping(clip.vision, jnp.asarray(ready[0].images))
        values = left_behind(clip, ready[0].images)

        def write() -> None:
            out = folder / f"bank_{next(number)}"
            create_bank(out, clip.config.vision, order, [], "float32")
            writer = BankWriter(out, order, range(order.parts), clip.config.vision, [], 0)
            for batch in ready:
                writer.add(batch.rows, values)
            writer.flush()

        def whole() -> None:
            run_pass(clip, source, folder / f"run_{next(number)}", collected)

        runs: Runs = {
            "compute": lambda: [jax.block_until_ready(compute()) for _ in ready] and None,
            "whole": whole,
            "read and preprocess": lambda: list(read()) and None,
            "write": write,
            "hash the model": lambda: model_hash(clip) and None,
        }
        found = by_turns(runs, options.repeats, "compute")
    medians = {name: part["seconds"]["median"] for name, part in found.items()}
    return found | {
        "images": options.images,
        "whole ÷ sum of parts": medians["whole"] / sum(value for name, value in medians.items() if name != "whole"),
        "photographs read a second": options.images / medians["read and preprocess"],
    }


def left_behind(clip: jaxclip.Clip, images: Any) -> dict[str, np.ndarray]:
    """What the bank gets of one batch."""
    held, weights = {"all": Collected.zero(clip.config.vision)}, jnp.ones(len(images))
    _, state, norm = step(held, clip.vision, images, weights, {}, "normalized")
    values = {name: np.asarray(value) for name, value in vars(state).items()}
    return values | {"norm": np.asarray(norm), "readable": np.ones(len(images), bool)}


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory of passes over few and over many images, by the model that comes with jaxclip."""
    peaks = []
    with temporary() as name:
        many = photographs(Path(name) / "photos", max(options.many), (128, 96))
        for n in options.many:
            peaks += peak_of(PASS, many, n, Path(name) / f"run_{n}")
    return {"images": options.many, "peak_bytes": peaks, "ratio": peaks[1] / peaks[0]}


if __name__ == "__main__":
    main()
