"""What the benchmarks share: arguments, times taken by turns, peak memory of a process, random models and pictures."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
from flax import nnx
from PIL import Image
from rich.console import Console
from rich.table import Table

from jaxclip.config import Compute, VisionConfig
from jaxclip.convert import export_openclip  # pyright: ignore[reportMissingImports]
from jaxclip.convert.formats.openclip import openclip_towers  # pyright: ignore[reportMissingImports]
from jaxclip.convert.registry import model_cfg, named_preprocess  # pyright: ignore[reportMissingImports]
from jaxclip.model.params import shapes, unflatten
from jaxclip.model.vision import VisionTransformer

RESULTS = Path(__file__).parent / "results"
Runs = dict[str, Callable[[], Any]]
PEAK = """
import pathlib, resource, sys

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def forget_peak():
    refs = pathlib.Path("/proc/self/clear_refs")
    if refs.exists():
        refs.write_text("5")

"""
"""Linux counts the parent's peak in ru_maxrss, so a process started from here asks the kernel by another way."""


def parser(
    description: str | None, *, repeats: int, model: str = "ViT-B-16", batch: int = 8
) -> argparse.ArgumentParser:
    """The arguments that every benchmark has."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--model", default=model, help="an OpenCLIP architecture; its weights are random")
    found.add_argument("--batch", type=int, default=batch)
    found.add_argument("--repeats", type=int, default=repeats, help="turns; the median of them is reported")
    found.add_argument("--out", type=Path, help="JSON file; experiments/results/<script>.json by default")
    return found


def measure(name: str, options: argparse.Namespace, parts: dict[str, Callable[[argparse.Namespace], Any]]) -> None:
    """Run the parts, show each, and write all of them as one JSON file."""
    out = options.out or RESULTS / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    # Where things lie on this machine is no part of a result.
    kept = {key: plain(value) for key, value in vars(options).items() if not isinstance(value, Path) and key != "out"}
    results = machine() | {"options": kept}
    for part, run in parts.items():
        results[part] = run(options)
        show(part, results[part])
        out.write_text(json.dumps(rounded(results), indent=1) + "\n")


def machine() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "date": datetime.now(UTC).date().isoformat(),
    }


def by_turns(runs: Runs, repeats: int, *bases: str, images: dict[str, int] | None = None) -> dict[str, Any]:
    """A B C A B C ..., so that whatever else the machine does falls on all of them: seconds, and the ratio to each base
    within each turn; medians and quartiles. Each runs once before, for what is compiled or loaded the first time.

    Args:
      bases: what the others are measured by.
      images: of each run; then seconds are of one image.
    """
    for run in runs.values():
        jax.block_until_ready(run())
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(seconds(run) / (images[name] if images else 1))
    return {
        name: {"seconds": spread(own)}
        | {f"times {base}": spread([a / b for a, b in zip(own, taken[base], strict=True)]) for base in bases}
        for name, own in taken.items()
    }


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {"median": median, "low": low, "high": high, "best": min(values)}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Of the power law through the points, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def peak_of(program: str, *arguments: Any) -> list[float]:
    """What a Python program prints in its last line, run in a process of its own; `peak()` is there for it."""
    command = [sys.executable, "-c", PEAK + program, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [float(number) for number in done.stdout.splitlines()[-1].split()]


def vision_config(model: str) -> VisionConfig:
    return openclip_towers(model_cfg(model)).vision


def tower(model: str, depth: int | None = None, compute: Compute = Compute(), **changes: Any) -> VisionTransformer:
    """An image tower with random weights, none of them zero or one, in the dtype they are multiplied in."""
    config = vision_config(model)
    config = replace(config, n_layers=depth or config.n_layers, **changes)

    def make() -> VisionTransformer:
        vision = VisionTransformer(config, nnx.Rngs(0), compute)
        noise = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(vision))))
        shaken = jax.tree.map(lambda x: x + 0.02 * jax.random.normal(next(noise), x.shape), vision)
        return jax.tree.map(lambda x: x.astype(compute.dtype), shaken)

    return jax.jit(make)()


def pictures(vision: VisionTransformer, batch: int) -> jax.Array:
    return jax.random.normal(jax.random.key(2), (batch, *vision.config.image_size, 3))


def checkpoint(model: str, folder: Path) -> Path:
    """A folder as OpenCLIP publishes them, with random weights; the path of its weights."""
    described = openclip_towers(model_cfg(model))
    preprocess = named_preprocess("openai-bicubic-squash", described.vision.image_size)
    config = described.config(model, preprocess)
    rng = np.random.default_rng(0)
    # Small, so that thousands of steps through the layers stay finite.
    leaves = {path: 0.02 * rng.standard_normal(shape, np.float32) for path, shape in shapes(config).items()}
    export_openclip(unflatten(leaves), config, folder)
    return folder / "open_clip_model.safetensors"


def photographs(folder: Path, n: int, size: tuple[int, int] = (500, 375)) -> Path:
    """JPEG files of the size of ImageNet's, about 100 kB each: smooth shapes and grain, all different."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32)
        grain = rng.normal(0, 12, smooth.shape)
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:05}.jpg", quality=92)
    return folder


def temporary() -> TemporaryDirectory:
    return TemporaryDirectory(prefix="jaxclip_bench_")


def plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def rounded(value: Any) -> Any:
    """Four digits of every number: more are noise."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


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
