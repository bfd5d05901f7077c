"""What a pass over a data set takes: `python experiments/paper/cost.py` for the paper's three models.

Memory is the compiler's own figure for the step of a pass, weights included: the program of `jaxclip.planner`, lowered
from shapes and compiled for one device of this machine. Operations are those of its matrix products. Time is an
estimate: operations over the rate that `bench_core.py` measured for ViT-B-16 on two CPU cores (results/core_cpu.json).
For a TPU slice ask `jaxclip plan`, which compiles for one.
"""

import json
from math import prod
from pathlib import Path
from typing import Any

import jax

import jaxclip
from jaxclip import planner, sharding
from jaxclip.bank import row_shapes
from jaxclip.commands.common import resolve
from jaxclip.config import VisionConfig
from jaxclip.convert.configs import openclip_towers
from jaxclip.convert.registry import model_cfg, model_names
from jaxclip.hlo import work
from jaxclip.report.tables import print_numbers

MEASURED = Path(__file__).resolve().parents[1] / "results" / "core_cpu.json"


def of_pass(config: VisionConfig, n_images: int, batch: int) -> dict[str, float]:
    """Bytes of a step and of the bank, and operations of an image."""
    mesh = sharding.make_mesh(1, 1, jax.devices()[:1])
    compiled = planner.lower(config, planner.Plan(batch=batch, detail="pass"), mesh).compile()
    held = compiled.memory_analysis()
    step = held.argument_size_in_bytes + held.temp_size_in_bytes
    row = sum(4 * prod(shape) for shape in row_shapes(config).values())
    return {"step_bytes": step, "bank_bytes": row * n_images, "flops": work(compiled.as_text()).flops / batch}


def rate() -> float:
    """Operations a second that were measured on two CPU cores."""
    measured = json.loads(MEASURED.read_text())
    options, seconds = measured["options"], measured["speed"]["head"]["seconds"]["median"]
    flops = of_pass(_config(options["model"]), 1, options["batch"])["flops"]
    return flops * options["batch"] / seconds


def show(models: tuple[str, ...], n_images: int, batch: int) -> dict[str, dict[str, Any]]:
    """A row a model."""
    speed, found, rows = rate(), {}, {}
    for model in models:
        found[model] = of_pass(_config(model), n_images, batch)
        found[model]["hours"] = found[model]["flops"] * n_images / speed / 3600
        rows[model] = (
            f"{found[model]['flops'] / 1e9:.1f}", f"{found[model]['hours']:.1f}",
            f"{found[model]['step_bytes'] / 2**30:.2f}", f"{found[model]['bank_bytes'] / 2**30:.1f}",
        )  # fmt: skip
    title = f"a pass over {n_images} images, batch {batch}, float32"
    columns = ("model", "GFLOP an image", "hours on two CPU cores (estimate)", "GiB of memory a step", "GiB on disk")
    print_numbers(title, rows, columns)
    return found


def _config(model: str) -> VisionConfig:
    """An architecture's is known without its weights."""
    name = model.split("/")[0]
    if name in model_names():
        return openclip_towers(model_cfg(name)).vision
    return jaxclip.load(resolve(model)).config.vision


if __name__ == "__main__":
    show(("ViT-B-16", "ViT-L-14", "ViT-H-14"), 50_000, 32)
