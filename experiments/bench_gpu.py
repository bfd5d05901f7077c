"""What the decomposition costs on a GPU: images a second of the plain pass, of each detail and of a pass with moments,
their share of the card's peak, memory, the sum's error by precision, TextSpan of all heads, a whole pass over files.
Beside PyTorch: both towers' error against open_clip, and its forward pass on the same card.

    python experiments/bench_gpu.py --minutes 8                  # one call; the same command goes on where it stopped
    python experiments/bench_gpu.py --models ViT-L-14 --only speed --programs plain head moments
    python experiments/bench_gpu.py --smoke --out smoke.json     # a tiny model on any device: does all of it run?

Weights are random: time does not depend on them. Without a GPU every row says that it was not measured. A row is
written as soon as it is there, the most wanted first, and measured once.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, get_args

import bench_gpu_files
import bench_gpu_torch
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxclip.analyses.textspan import head_bases
from jaxclip.config import Compute, VisionConfig
from jaxclip.convert.formats.openclip import openclip_towers  # pyright: ignore[reportMissingImports]
from jaxclip.convert.registry import model_cfg  # pyright: ignore[reportMissingImports]
from jaxclip.model.contributions import Detail
from jaxclip.model.head_coordinates import head_matrices
from jaxclip.model.vision import VisionTransformer
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.step import step

RESULTS = Path(__file__).parent / "results"
NO_GPU, LATE = "not measured: no GPU", "not measured: out of time"
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bfloat16 operations a second by the makers' data sheets, of the SXM card where there are several."""
MODELS = ("ViT-L-14", "ViT-B-16", "ViT-H-14")
TINY = VisionConfig(
    image_size=(32, 32), patch_size=(8, 8), width=64, n_layers=2, n_heads=2, mlp_dim=128, embed_dim=32,
    activation="gelu",
)  # fmt: skip
PROGRAMS = ("plain", "head", "moments", "layer", "token", "full", "explicit")
"""`explicit` is the plain pass without cuDNN's attention (see `jaxclip.model.attention`)."""
PRECISIONS = {
    "float32": Compute(), "tf32": Compute(precision="tensorfloat32"), "bfloat16": Compute(dtype="bfloat16"),
}  # fmt: skip
N_TEXTS, STEPS = 3498, 20


def main() -> None:
    options = parse()
    device = jax.devices()[0]
    there = device.platform == "gpu" or options.smoke
    out = options.out or RESULTS / f"gpu_{device.device_kind.replace(' ', '_') if there else 'none'}.json"
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    results |= {
        "device": device.device_kind if there else None,
        "peak_flops": (best := peak(device.device_kind, options.peak)),
        "versions": {"jax": jax.__version__, "python": platform.python_version(), "backend": versions(device)},
        "date": datetime.now(UTC).date().isoformat(),
    }
    deadline = time.monotonic() + 60 * options.minutes
    for part, model, row, measure in rows(options):
        found = results.setdefault(model, {"flops_an_image": flops(configured(model))}).setdefault(part, {})
        if isinstance(found.get(row), str | None):
            unmeasured = NO_GPU if not there else LATE if time.monotonic() > deadline else None
            found[row] = unmeasured or measure(results[model])
        if best and part in ("speed", "open_clip") and isinstance(found[row], dict):
            found[row]["share_of_peak"] = found[row]["images_per_s"] * results[model]["flops_an_image"] / best
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16", help="of speeds and the pass over files")
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 128, 256, 512, 1024], help="of the plain pass")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--files", type=int, default=4096, help="pictures of the pass over files")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after so many")
    parser.add_argument("--peak", type=float, help="the card's operations a second, where it is not known here")
    parser.add_argument("--smoke", action="store_true", help="a tiny model on whatever device there is")
    parser.add_argument("--out", type=Path, help="JSON file; experiments/results/gpu_<device>.json by default")
    options = parser.parse_args()
    if options.smoke:
        options.models, options.batches, options.seconds, options.files = ["tiny"], [2, 4], 0.01, 40
    return options


def rows(options: argparse.Namespace) -> Iterator[tuple[str, str, str, Callable[[dict[str, Any]], Any]]]:
    """Part, model and row of everything to be measured, with how; the most wanted first."""
    for part in options.only:
        for model in options.models:
            for row in options.programs if part == "speed" else PARTS[part][0]:
                yield part, model, row, partial(PARTS[part][1], model, row, options)


def configured(model: str) -> VisionConfig:
    return TINY if model == "tiny" else openclip_towers(model_cfg(model)).vision


def versions(device: Any) -> str:
    """What JAX's backend says of itself: CUDA and driver, where there are any."""
    return " ".join(device.client.platform_version.split())


def peak(kind: str, given: float | None) -> float | None:
    return given or next((value for name, value in PEAKS.items() if name in kind.split() or name in kind), None)


def flops(config: VisionConfig) -> float:
    """Of the plain pass of one image: two for each multiply-add of its matrix products."""
    t, w = config.n_tokens, config.width
    patches = (t - 1) * 3 * config.patch_size[0] * config.patch_size[1] * w
    block = 4 * t * w * w + 2 * t * t * w + 2 * t * w * config.mlp_dim
    return 2.0 * (patches + config.n_layers * block + w * config.embed_dim)


def speed(model: str, name: str, options: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any]:
    """Images a second: the plain pass by batch until a larger one gains less than 3% or does not fit; every other
    program at the plain pass's best batch, or the largest half, quarter ... of it that fits. Shares are of the plain
    pass's best."""
    config, compute = configured(model), PRECISIONS[options.precision]
    vision = tower(config, replace(compute, attention="plain") if name == "explicit" else compute)
    best = found["speed"].get("plain")
    plain = best if isinstance(best, dict) and best["batch"] else None
    sizes = options.batches if plain is None else [plain["batch"] >> n for n in range(plain["batch"].bit_length())]
    row: dict[str, Any] = {"images_per_s": 0.0, "batch": None, "batches": {}}
    for batch in sizes:
        if too_large(name, vision, batch):
            row["does_not_fit"] = batch
            continue
        try:
            one = row["batches"][str(batch)] = measured(name, vision, pictures(config, batch), options.seconds)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            row["does_not_fit"] = batch
            if plain is None:
                break
            continue
        before = row["images_per_s"]
        if one["images_per_s"] > before:
            row |= {"batch": batch, **one}
        if plain or one["images_per_s"] < 1.03 * before:
            break
    if plain:
        row["share_of_plain"] = row["images_per_s"] / plain["images_per_s"]
    return row


def too_large(name: str, vision: VisionTransformer, batch: int) -> bool:
    """Whether the result alone leaves no room; the compiler takes a minute to find that out."""
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit is None or name not in get_args(Detail):
        return False
    images = jax.ShapeDtypeStruct((batch, *vision.config.image_size, 3), jnp.float32)
    result = jax.eval_shape(lambda v, x: v(x, detail=name), vision, images)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(result)) > 0.9 * limit


def measured(name: str, vision: VisionTransformer, images: jax.Array, seconds: float) -> dict[str, float]:
    """One program at one batch; the host waits once, at the end."""
    start = time.perf_counter()
    compiled, run = program(name, vision, images)
    compile_s = time.perf_counter() - start
    jax.block_until_ready(run())
    start = time.perf_counter()
    jax.block_until_ready(run())
    n = max(3, int(seconds / (time.perf_counter() - start)))
    last, start = None, time.perf_counter()
    for _ in range(n):
        last = run()
    jax.block_until_ready(last)
    rate = n * len(images) / (time.perf_counter() - start)
    held = compiled.memory_analysis()
    results = held.output_size_in_bytes - held.alias_size_in_bytes
    memory = held.argument_size_in_bytes + results + held.temp_size_in_bytes
    return {"images_per_s": rate, "memory_bytes": memory, "compile_s": round(compile_s, 1)}


def program(name: str, vision: VisionTransformer, images: jax.Array) -> tuple[Any, Callable[[], Any]]:
    """The compiled program and a call of it."""
    if name == "moments":
        held = [{"all": Collected.zero(vision.config)}]
        arguments = (vision, images, jnp.ones(len(images)), {})
        compiled = step.lower(held[0], *arguments, "normalized").compile()

        def run() -> Any:
            held[0], *rest = compiled(held[0], *arguments)
            return rest

        return compiled, run
    call = (lambda v, x: v.embed(x)) if name in ("plain", "explicit") else (lambda v, x: v(x, detail=name))
    compiled = jax.jit(call).lower(vision, images).compile()
    return compiled, partial(compiled, vision, images)


def sums(model: str, name: str, options: argparse.Namespace, found: dict[str, Any]) -> dict[str, float]:
    """Largest error of `total()` and, against float32, of the embedding itself, relative to its norm."""
    config = configured(model)
    images, vision = pictures(config, 4), tower(config, PRECISIONS[name])
    errors = {}
    for detail in get_args(Detail):
        embedding, contributions = vision(images, detail=detail)
        errors[detail] = relative(contributions.total(), embedding)
    exact = tower(config, Compute()).embed(images)
    return errors | {"embedding": relative(vision.embed(images), exact)}


def relative(x: Any, expected: Any) -> float:
    x, expected = np.float64(x), np.float64(expected)
    return float((np.linalg.norm(x - expected, axis=-1) / np.linalg.norm(expected, axis=-1)).max())


def textspans(model: str, _: str, options: argparse.Namespace, found: dict[str, Any]) -> dict[str, float]:
    """Seconds for the bases of all heads, from moments of a few hundred images."""
    config = configured(model)
    vision = tower(config, Compute())
    moments = {"all": Collected.zero(config)}
    for seed in range(4):
        moments, *_rest = step(moments, vision, pictures(config, 64, seed), np.ones(64, np.float32), {}, "normalized")
    heads = moments["all"].with_matrices(head_matrices(vision)).heads
    texts = jax.random.normal(jax.random.key(3), (N_TEXTS, config.embed_dim))
    texts = texts / jnp.linalg.norm(texts, axis=-1, keepdims=True)
    steps = min(STEPS, config.head_dim)
    jax.block_until_ready(head_bases(heads, texts, steps=steps))
    start = time.perf_counter()
    jax.block_until_ready(head_bases(heads, texts, steps=steps))
    return {"heads": config.n_layers * config.n_heads, "texts": N_TEXTS, "seconds": time.perf_counter() - start}


def files(model: str, name: str, options: argparse.Namespace, found: dict[str, Any]) -> dict[str, float]:
    """Images a second of reading JPEGs alone, or of `jaxclip run` over them."""
    vision = tower(configured(model), PRECISIONS[options.precision])
    return bench_gpu_files.speed(vision, options.files, reading=name == "reading")


def parity(model: str, name: str, options: argparse.Namespace, found: dict[str, Any]) -> dict[str, float] | str:
    """The largest error of each kind against open_clip in PyTorch, in float32 on the host, of an embedding's norm."""
    return bench_gpu_torch.parity("scenes" if model == "tiny" else model, PRECISIONS[name])


def open_clip(model: str, name: str, options: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any] | str:
    """Images a second of open_clip's image tower in PyTorch on the same card, at the plain pass's best batch."""
    plain = found.get("speed", {}).get("plain")
    batch = plain["batch"] if isinstance(plain, dict) else options.batches[0]
    theirs = "ViT-B-32" if model == "tiny" else model
    row = bench_gpu_torch.speed(theirs, PRECISIONS[options.precision], batch, options.seconds, name == "compiled")
    if isinstance(row, dict) and isinstance(plain, dict):
        row["share_of_plain"] = row["images_per_s"] / plain["images_per_s"]
    return row


def tower(config: VisionConfig, compute: Compute) -> VisionTransformer:
    """Random weights, none of them zero or one, in the dtype they are multiplied in."""

    def make() -> VisionTransformer:
        vision = VisionTransformer(config, nnx.Rngs(0), compute)
        noise: Iterator[jax.Array] = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(vision))))
        shaken = jax.tree.map(lambda x: x + 0.02 * jax.random.normal(next(noise), x.shape), vision)
        return jax.tree.map(lambda x: x.astype(compute.dtype), shaken)

    return jax.jit(make)()


def pictures(config: VisionConfig, batch: int, seed: int = 2) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (batch, *config.image_size, 3))


PARTS = {
    "speed": (PROGRAMS, speed), "sums": (tuple(PRECISIONS), sums), "textspan": (("all heads",), textspans),
    "files": (("reading", "pass"), files), "parity": (tuple(PRECISIONS), parity),
    "open_clip": (("eager", "compiled"), open_clip),
}  # fmt: skip
"""Rows of each part, and how to measure one."""

if __name__ == "__main__":
    main()
