"""What a pass over a data set takes: `python experiments/paper/cost.py` for the paper's three models.

Memory is the compiler's own figure for the step of a pass, weights included: the program of `jaxclip.planner.plan`,
lowered from shapes and compiled for one device of this machine. Operations are those of its matrix products. Time is an
estimate: operations over the rate at which this machine decomposes eight images with the first model, random weights,
measured on the spot. For a TPU slice ask `jaxclip plan`, which compiles for one.
"""

import sys
import time
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import jaxclip
from jaxclip.config import Compute, VisionConfig
from jaxclip.convert.formats.openclip import openclip_towers  # pyright: ignore[reportMissingImports]
from jaxclip.convert.registry import model_cfg, model_names  # pyright: ignore[reportMissingImports]
from jaxclip.devices import sharding
from jaxclip.model.vision import VisionTransformer
from jaxclip.planner import plan
from jaxclip.planner.work import work
from jaxclip.runs.bank import row_shapes

sys.path.append(str(Path(__file__).resolve().parents[1]))
from showing import print_numbers


def of_pass(config: VisionConfig, n_images: int, batch: int) -> dict[str, float]:
    """Bytes of a step and of the bank, and operations of an image."""
    mesh = sharding.make_mesh(1, 1, jax.devices()[:1])
    compiled = plan.lower(config, plan.Plan(batch=batch, detail="pass"), mesh).compile()
    held = compiled.memory_analysis()
    assert held is not None
    step = held.argument_size_in_bytes + held.temp_size_in_bytes
    row = sum(4 * prod(shape) for shape in row_shapes(config).values())
    return {"step_bytes": step, "bank_bytes": row * n_images, "flops": work(compiled.as_text() or "").flops / batch}


def rate(config: VisionConfig, flops: float, batch: int = 8, repeats: int = 3) -> float:
    """Operations a second of this machine: the best of a few decompositions of random images by random weights."""
    vision = VisionTransformer(config, nnx.Rngs(0), Compute())
    images, seconds = np.zeros((batch, *config.image_size, 3), np.float32), []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        jax.block_until_ready(vision(images, detail="head"))
        seconds.append(time.perf_counter() - started)
    # The first one compiles.
    return flops * batch / min(seconds[1:])


def show(models: tuple[str, ...], n_images: int, batch: int) -> dict[str, dict[str, Any]]:
    """A row a model."""
    found = {model: of_pass(_config(model), n_images, batch) for model in models}
    speed, rows = rate(_config(models[0]), found[models[0]]["flops"]), {}
    for model in models:
        found[model]["hours"] = found[model]["flops"] * n_images / speed / 3600
        rows[model] = (
            f"{found[model]['flops'] / 1e9:.1f}", f"{found[model]['hours']:.1f}",
            f"{found[model]['step_bytes'] / 2**30:.2f}", f"{found[model]['bank_bytes'] / 2**30:.1f}",
        )  # fmt: skip
    title = f"a pass over {n_images} images, batch {batch}, float32, at {speed / 1e9:.0f} GFLOP/s as measured here"
    columns = ("model", "GFLOP an image", "hours (estimate)", "GiB of memory a step", "GiB on disk")
    print_numbers(title, rows, columns)
    return found


def _config(model: str) -> VisionConfig:
    """An architecture's is known without its weights."""
    name = model.split("/")[0]
    if name in model_names():
        return openclip_towers(model_cfg(name)).vision
    return jaxclip.load(model).config.vision


if __name__ == "__main__":
    show(("ViT-B-16", "ViT-L-14", "ViT-H-14"), 50_000, 32)
