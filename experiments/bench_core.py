"""What the decomposition costs: time beside the plain forward pass, program size and compile time over depth, start-up,
memory of a conversion and of maps, and the error of the sum.

    python experiments/bench_core.py                       # ViT-B-16, batch 8, float32
    python experiments/bench_core.py --only speed sums --dtype bfloat16 --model ViT-L-14 --batch 32
"""

import argparse
import sys
import time
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Any, get_args

import jax
import numpy as np
from benching import (
    Runs,
    by_turns,
    checkpoint,
    measure,
    parser,
    peak_of,
    pictures,
    seconds,
    temporary,
    tower,
)

from jaxclip.config import Compute
from jaxclip.model.contributions import Constants, Detail

CONVERSION = """
from jaxclip import convert
imported = peak()
convert.convert(sys.argv[1], sys.argv[2])
print(imported, peak())
"""
MAPS = """
sys.path.insert(0, sys.argv[1])
import jax
from benching import pictures, tower
vision = jax.block_until_ready(tower(sys.argv[2]))
images = pictures(vision, int(sys.argv[3]))
texts = jax.random.normal(jax.random.key(4), (int(sys.argv[4]), vision.config.embed_dim))
program = jax.jit(lambda v, x, r: v.map(x, r)).lower(vision, images, texts).compile()
needed = program.memory_analysis()
forget_peak()
jax.block_until_ready(program(vision, images, texts))
print(needed.argument_size_in_bytes + needed.temp_size_in_bytes + needed.output_size_in_bytes, peak())
"""


def main() -> None:
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--dtype", default="float32")
    arguments.add_argument("--precision", default="highest", help="of float32 products on accelerators")
    arguments.add_argument("--large", default="ViT-L-14", help="architecture whose conversion and maps are measured")
    arguments.add_argument("--texts", type=int, default=1000, help="of the maps")
    arguments.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = arguments.parse_args()
    measure("bench_core", options, {name: PARTS[name] for name in options.only})


def compute(options: argparse.Namespace) -> Compute:
    return Compute(dtype=options.dtype, precision=options.precision)


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds for a batch: the plain pass and every detail, taken by turns, and the ratio within each turn."""
    vision = tower(options.model, compute=compute(options))
    images = pictures(vision, options.batch)
    runs: Runs = {"plain": lambda: vision.embed(images)}
    for detail in get_args(Detail):
        runs[detail] = lambda detail=detail: vision(images, detail=detail)
    return by_turns(runs, options.repeats, "plain")


def program(options: argparse.Namespace) -> dict[str, Any]:
    """Characters of the lowered program and seconds to compile it, for 4 and for 24 layers."""
    found: dict[str, Any] = {}
    # Nothing compiled before may shorten it.
    jax.config.update("jax_enable_compilation_cache", False)
    for detail in ("head", "full"):
        sizes, taken = [], []
        for depth in (4, 24):
            vision = jax.eval_shape(lambda depth=depth: tower(options.model, depth, compute(options)))
            images = jax.eval_shape(lambda vision=vision: pictures(vision, options.batch))
            lowered = jax.jit(lambda v, x, detail=detail: v(x, detail=detail)).lower(vision, images)
            taken.append(seconds(lambda lowered=lowered: lowered.compile() and None))
            sizes.append(len(lowered.as_text()))
        found[detail] = {
            "layers": [4, 24], "characters": sizes, "growth": sizes[1] / sizes[0] - 1, "compile_s": taken
        }  # fmt: skip
    jax.config.update("jax_enable_compilation_cache", True)
    return found


def start(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds from nothing to a help text, beside a bare interpreter."""
    commands = {"python": ["-c", "pass"], "jaxclip --help": ["-m", "jaxclip", "--help"]}
    runs: Runs = {
        name: lambda words=words: run([sys.executable, *words], check=True, stdout=DEVNULL) and None
        for name, words in commands.items()
    }
    return by_turns(runs, options.repeats, "python")


def conversion(options: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory and time of converting a random checkpoint in float32; its size is read and written too."""
    with temporary() as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        file = checkpoint(options.large, source)
        size = file.stat().st_size
        begun = time.perf_counter()
        imported, peak = peak_of(CONVERSION, source, out)
        taken = time.perf_counter() - begun
        copied = seconds(lambda: (Path(folder) / "copy").write_bytes(file.read_bytes()) and None)
    return {
        "model": options.large, "file_bytes": size, "peak_bytes": int(peak), "after_imports_bytes": int(imported),
        "peak ÷ file": peak / size, "seconds": taken, "times copying the file": taken / copied,
    }  # fmt: skip


def maps(options: argparse.Namespace) -> dict[str, Any]:
    """Memory of text maps of the large model at batch 8: of the compiled program, weights included, and of the whole
    process, interpreter and libraries included."""
    needed, peak = peak_of(MAPS, Path(__file__).parent, options.large, 8, options.texts)
    return {"model": options.large, "batch": 8, "texts": options.texts, "program_bytes": needed, "peak_bytes": peak}


def sums(options: argparse.Namespace) -> dict[str, Any]:
    """Largest error of `total()` relative to its embedding, for every detail and convention."""
    vision = tower(options.model, compute=compute(options))
    images, found = pictures(vision, min(options.batch, 4)), {}
    for detail in get_args(Detail):
        found[detail] = {}
        for constants in get_args(Constants):
            embedding, contributions = vision(images, detail=detail, constants=constants)
            error = np.linalg.norm(np.asarray(contributions.total()) - embedding, axis=-1)
            found[detail][constants] = float((error / np.linalg.norm(embedding, axis=-1)).max())
    return found


PARTS = {"speed": speed, "program": program, "start": start, "conversion": conversion, "maps": maps, "sums": sums}

if __name__ == "__main__":
    main()
