"""What the decomposition costs on a GPU: images a second of the plain pass, of each detail and of a pass with moments,
their share of the card's peak, memory, the sum's error by precision, and TextSpan of all heads. One JSON file.

    python experiments/bench_gpu.py                                        # B-16, L-14 and H-14, batches to saturation
    python experiments/bench_gpu.py --models ViT-L-14 --only speed --batches 64 256

Weights are random: time does not depend on them. Without a GPU every row says that it was not measured.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxclip.collected import Collected
from jaxclip.config import Compute, VisionConfig
from jaxclip.contributions import Detail
from jaxclip.convert.configs import openclip_towers
from jaxclip.convert.registry import model_cfg
from jaxclip.heads import head_matrices
from jaxclip.pass_step import step
from jaxclip.text_span import head_bases
from jaxclip.vision import VisionTransformer

RESULTS = Path(__file__).parent / "results"
NOT_MEASURED = "not measured: no GPU"
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bfloat16 operations a second by the makers' data sheets, of the SXM card where there are several."""
PARTS = ("speed", "sums", "textspan")
PROGRAMS = ("plain", *get_args(Detail), "moments")
PRECISIONS = {
    "float32": Compute(), "tf32": Compute(precision="tensorfloat32"), "bfloat16": Compute(dtype="bfloat16"),
}  # fmt: skip
N_TEXTS, STEPS = 3498, 20


def main() -> None:
    options = parse()
    device = jax.devices()[0]
    there = device.platform == "gpu" or options.any_device
    results: dict[str, Any] = {
        "device": device.device_kind if there else None,
        "peak_flops": peak(device.device_kind, options.peak),
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "date": datetime.now(UTC).date().isoformat(),
    }
    out = options.out or RESULTS / f"gpu_{device.device_kind.replace(' ', '_') if there else 'none'}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = {"speed": speed, "sums": sums, "textspan": textspans}
    for model in options.models:
        config = openclip_towers(model_cfg(model)).vision
        found = results[model] = {"flops_an_image": flops(config)}
        for name in options.only:
            found[name] = parts[name](config, options, results["peak_flops"]) if there else unmeasured(name)
            out.write_text(json.dumps(results, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["ViT-B-16", "ViT-L-14", "ViT-H-14"])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16", help="of the speeds")
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 16, 32, 64, 128, 256, 512, 1024, 2048])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--peak", type=float, help="the card's operations a second, where it is not known here")
    parser.add_argument("--any-device", action="store_true", help="measure whatever device there is")
    parser.add_argument("--out", type=Path, help="JSON file; experiments/results/gpu_<device>.json by default")
    return parser.parse_args()


def unmeasured(name: str) -> dict[str, str]:
    rows = {"speed": PROGRAMS, "sums": PRECISIONS, "textspan": ("seconds",)}[name]
    return dict.fromkeys(rows, NOT_MEASURED)


def peak(kind: str, given: float | None) -> float | None:
    return given or next((value for name, value in PEAKS.items() if name in kind.split() or name in kind), None)


def flops(config: VisionConfig) -> float:
    """Of the plain pass of one image: two for each multiply-add of its matrix products."""
    t, w = config.n_tokens, config.width
    patches = (t - 1) * 3 * config.patch_size[0] * config.patch_size[1] * w
    block = 4 * t * w * w + 2 * t * t * w + 2 * t * w * config.mlp_dim
    return 2.0 * (patches + config.n_layers * block + w * config.embed_dim)


def speed(config: VisionConfig, options: argparse.Namespace, best: float | None) -> dict[str, Any]:
    """Images a second by batch, until a larger batch gains less than 3% or does not fit; and relative to plain."""
    vision = tower(config, PRECISIONS[options.precision])
    found: dict[str, Any] = {}
    for name in options.programs:
        rows = found[name] = {"batches": {}}
        for batch in options.batches:
            before = max((row["images_per_s"] for row in rows["batches"].values()), default=0.0)
            try:
                row = rows["batches"][str(batch)] = measured(name, vision, pictures(config, batch), options.seconds)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                rows["does_not_fit"] = batch
                break
            if row["images_per_s"] < 1.03 * before:
                break
        rows["images_per_s"] = max((row["images_per_s"] for row in rows["batches"].values()), default=0.0)
        if best:
            rows["share_of_peak"] = rows["images_per_s"] * flops(config) / best
        if "plain" in found and found["plain"]["images_per_s"]:
            rows["share_of_plain"] = rows["images_per_s"] / found["plain"]["images_per_s"]
    return found


def measured(name: str, vision: VisionTransformer, images: jax.Array, seconds: float) -> dict[str, float]:
    """One program at one batch; the host waits once, at the end."""
    compiled, run = program(name, vision, images)
    jax.block_until_ready(run())
    start = time.perf_counter()
    jax.block_until_ready(run())
    n = max(3, int(seconds / (time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(n):
        last = run()
    jax.block_until_ready(last)
    held = compiled.memory_analysis()
    results = held.output_size_in_bytes - held.alias_size_in_bytes
    memory = held.argument_size_in_bytes + results + held.temp_size_in_bytes
    return {"images_per_s": n * len(images) / (time.perf_counter() - start), "memory_bytes": memory}


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
    call = (lambda v, x: v.embed(x)) if name == "plain" else (lambda v, x: v(x, detail=name))
    compiled = jax.jit(call).lower(vision, images).compile()
    return compiled, partial(compiled, vision, images)


def sums(config: VisionConfig, options: argparse.Namespace, best: float | None) -> dict[str, Any]:
    """Largest error of `total()` and, against float32, of the embedding itself, relative to its norm."""
    images, exact, found = pictures(config, 4), None, {}
    for name, compute in PRECISIONS.items():
        vision = tower(config, compute)
        exact = np.asarray(vision.embed(images)) if exact is None else exact
        found[name] = {}
        for detail in get_args(Detail):
            embedding, contributions = vision(images, detail=detail)
            found[name][detail] = relative(contributions.total(), embedding)
        found[name]["embedding"] = relative(vision.embed(images), exact)
    return found


def relative(x: Any, expected: Any) -> float:
    x, expected = np.float64(x), np.float64(expected)
    return float((np.linalg.norm(x - expected, axis=-1) / np.linalg.norm(expected, axis=-1)).max())


def textspans(config: VisionConfig, options: argparse.Namespace, best: float | None) -> dict[str, float]:
    """Seconds for the bases of all heads, from moments of a few hundred images."""
    vision = tower(config, Compute())
    moments = {"all": Collected.zero(config)}
    for seed in range(4):
        moments, *_ = step(moments, vision, pictures(config, 64, seed), np.ones(64, np.float32), {}, "normalized")
    heads = moments["all"].with_matrices(head_matrices(vision)).heads
    texts = jax.random.normal(jax.random.key(3), (N_TEXTS, config.embed_dim))
    texts = texts / jnp.linalg.norm(texts, axis=-1, keepdims=True)
    jax.block_until_ready(head_bases(heads, texts, steps=STEPS))
    start = time.perf_counter()
    jax.block_until_ready(head_bases(heads, texts, steps=STEPS))
    return {"heads": config.n_layers * config.n_heads, "texts": N_TEXTS, "seconds": time.perf_counter() - start}


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


if __name__ == "__main__":
    main()
