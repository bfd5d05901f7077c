"""What the decomposition costs: time beside the plain forward pass, program size over depth, memory of a conversion,
and the error of the sum, measured in one run and written as JSON.

    python experiments/bench_core.py                       # ViT-B-16, batch 8, float32
    python experiments/bench_core.py --only speed sums --dtype bfloat16 --model ViT-L-14 --batch 32
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import jax
import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

from jaxclip.config import Compute
from jaxclip.contributions import Constants, Detail
from jaxclip.convert import export_openclip
from jaxclip.convert.configs import openclip_towers
from jaxclip.convert.registry import model_cfg, named_preprocess
from jaxclip.params import shapes, unflatten
from jaxclip.vision import VisionTransformer

PARTS = ("speed", "program", "memory", "open_clip", "sums")
# A process of its own, because the peak is of all that a process ever held. Linux counts the parent's in ru_maxrss.
CONVERSION = """
import pathlib, resource, sys

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

from jaxclip import convert
imported = peak()
convert.convert(sys.argv[1], sys.argv[2])
print(imported, peak())
"""


def main() -> None:
    options = parse()
    parts = {"speed": speed, "program": program, "memory": memory, "open_clip": torch_speed, "sums": sums}
    device = jax.devices()[0]
    results: dict[str, Any] = {
        "device": device.device_kind,
        "platform": device.platform,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "options": {name: getattr(options, name) for name in ("model", "batch", "dtype", "precision", "repeats")},
    }
    for name in options.only:
        results[name] = parts[name](options)
        show(name, results[name])
    out = options.out or Path(__file__).parent / "results" / f"core_{device.device_kind.replace(' ', '_')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16", help="an OpenCLIP architecture")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--precision", default="highest", help="of float32 products on accelerators")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--converted", default="ViT-L-14", help="architecture whose conversion is measured")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, help="JSON file; experiments/results/core_<device>.json by default")
    return parser.parse_args()


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds for a batch: the plain pass and every detail, taken by turns, and the ratio within each turn."""
    vision, images = tower(options), pictures(options)
    runs: dict[str, Callable[[], Any]] = {"plain": lambda: vision.embed(images)}
    for detail in get_args(Detail):
        runs[detail] = lambda detail=detail: vision(images, detail=detail)
    return by_turns(runs, options.repeats, "plain")


def torch_speed(options: argparse.Namespace) -> dict[str, Any] | str:
    """The same plain pass by open_clip, on as many threads, by turns with ours."""
    if util.find_spec("torch") is None or util.find_spec("open_clip") is None:
        return "not measured: open_clip or torch is not installed"
    if jax.default_backend() != "cpu":
        return "not measured: PyTorch is compared on CPU only"
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import torch
    import torchvision_stub

    torchvision_stub.install()
    import open_clip

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    theirs = open_clip.create_model(options.model, pretrained=None).visual.eval()
    vision, images = tower(options), pictures(options)
    tensor = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()

    def run() -> None:
        with torch.inference_mode():
            theirs(tensor)

    runs = {"open_clip": run, "plain": lambda: vision.embed(images), "full": lambda: vision(images, detail="full")}
    return by_turns(runs, options.repeats, "open_clip")


def by_turns(runs: dict[str, Callable[[], Any]], repeats: int, base: str) -> dict[str, Any]:
    """A B C A B C ..., so that whatever else the machine does falls on all of them; medians and quartiles."""
    for run in runs.values():
        jax.block_until_ready(run())
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "seconds": spread(taken),
            f"times {base}": spread([a / b for a, b in zip(taken, seconds[base], strict=True)]),
        }
        for name, taken in seconds.items()
    }


def spread(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": median, "low": low, "high": high, "best": min(values)}


def program(options: argparse.Namespace) -> dict[str, Any]:
    """Characters of the lowered program and seconds to compile it, for 4 and for 24 layers."""
    found: dict[str, Any] = {}
    images = jax.ShapeDtypeStruct(pictures(options).shape, np.float32)
    for detail in get_args(Detail):
        sizes, seconds = [], []
        for depth in (4, 24):
            vision = nnx.eval_shape(lambda depth=depth: tower(options, depth))
            lowered = jax.jit(lambda v, x, detail=detail: v(x, detail=detail)).lower(vision, images)
            start = time.perf_counter()
            lowered.compile()
            seconds.append(time.perf_counter() - start)
            sizes.append(len(lowered.as_text()))
        found[detail] = {"characters": sizes, "growth": sizes[1] / sizes[0] - 1, "compile_s": seconds}
    return found


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory of converting a random checkpoint in float32, relative to the file's size."""
    described = openclip_towers(model_cfg(options.converted))
    preprocess = named_preprocess("openai-bicubic-squash", described.vision.image_size)
    config = described.config(options.converted, preprocess)
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        leaves = {path: rng.standard_normal(shape, np.float32) for path, shape in shapes(config).items()}
        export_openclip(unflatten(leaves), config, source)
        leaves.clear()
        size = (source / "open_clip_model.safetensors").stat().st_size
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", CONVERSION, source, out], check=True, stdout=subprocess.PIPE, text=True
        )
    imported, peak = (int(number) for number in done.stdout.split()[-2:])
    return {
        "model": options.converted, "file_bytes": size, "peak_bytes": peak, "after_imports_bytes": imported,
        "peak / file": peak / size, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def sums(options: argparse.Namespace) -> dict[str, Any]:
    """Largest error of `total()` relative to its embedding, for every detail and convention."""
    vision, images = tower(options), pictures(options)
    found: dict[str, Any] = {}
    for detail in get_args(Detail):
        found[detail] = {}
        for constants in get_args(Constants):
            embedding, contributions = vision(images, detail=detail, constants=constants)
            error = np.linalg.norm(np.asarray(contributions.total()) - embedding, axis=-1)
            found[detail][constants] = float((error / np.linalg.norm(embedding, axis=-1)).max())
    return found


def tower(options: argparse.Namespace, depth: int | None = None) -> VisionTransformer:
    """Random weights, none of them zero or one, in the dtype they are multiplied in."""
    config = openclip_towers(model_cfg(options.model)).vision
    config = replace(config, n_layers=depth or config.n_layers)
    vision = VisionTransformer(config, nnx.Rngs(0), Compute(dtype=options.dtype, precision=options.precision))
    noise = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(vision))))
    return jax.tree.map(lambda x: (x + 0.02 * jax.random.normal(next(noise), x.shape)).astype(options.dtype), vision)


def pictures(options: argparse.Namespace) -> jax.Array:
    size = openclip_towers(model_cfg(options.model)).vision.image_size
    return jax.random.normal(jax.random.key(2), (options.batch, *size, 3))


def show(name: str, results: Any) -> None:
    table = Table("what", "value", title=name)
    for what, value in lines(results):
        table.add_row(what, value)
    Console().print(table)


def lines(results: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """One row a number, nested names joined; of a spread only the median and, behind it, the quartiles."""
    if not isinstance(results, dict):
        yield prefix, f"{results:.4g}" if isinstance(results, float) else str(results)
    elif "median" in results:
        yield prefix, "{median:.4g}  ({low:.4g} to {high:.4g})".format(**results)
    else:
        for name, value in results.items():
            yield from lines(value, f"{prefix}, {name}" if prefix else name)


if __name__ == "__main__":
    main()
