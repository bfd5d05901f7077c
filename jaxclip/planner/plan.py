"""What a program will need on a TPU slice, found by compiling it for one where there is none.

The program is the one that runs later, lowered from shapes alone: no weights, no images, no device. The compiler comes
with the package `libtpu`, which disturbs plain JAX, so it lives in a Python of its own: `ask` runs this file there, and
`tpu/planner_env.sh` makes such a Python.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib import metadata, util
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from jaxclip.config import Compute, VisionConfig
from jaxclip.devices import sharding
from jaxclip.model.vision import VisionTransformer
from jaxclip.numerics.arrays import counted
from jaxclip.planner.largest_batch import largest_batch
from jaxclip.planner.work import Work, work
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.moment_places import moment_specs
from jaxclip.runs.step import step

Chip = Literal["v5e", "v5p", "v6e"]
Program = Literal["pass", "plain", "full", "head", "token", "layer"]
"""`pass` is a step of `jaxclip run` with moments, `plain` the embedding alone, the others a decomposition's detail."""

PYTHON = "JAXCLIP_PLANNER_PYTHON"
"""Environment variable that names a Python with libtpu."""

Effort = Literal["full", "quick"]
"""`quick` compiles about five times faster: the same products and collectives in a less clever order, so that
temporaries take more or less memory than in the program that will run."""

QUICK: Any = {"exec_time_optimization_effort": -1.0}
"""What that is to the compiler."""

HBM = {"v5e": int(15.75 * 2**30), "v5p": int(95.74 * 2**30), "v6e": int(31.25 * 2**30)}
"""Bytes of a chip that the compiler lets a program have, as it says when it refuses one. Only guesses rest on them."""

MOST = {"v5e": 256, "v5p": 8960, "v6e": 256}
"""Chips of the largest slice there is; libtpu itself compiles for any."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked.

    Attributes:
      chip: generation of TPU.
      topology: chips along each axis of the slice, such as 4x4 (v5e, v6e) or 2x2x4 (v5p).
      batch: images of one step, on all devices together.
      detail: which program.
      model: devices that share one copy of the weights; the others each have their own part of the batch.
      dtype: weights and activations are multiplied in.
      precision: of float32 products.
      values: of a label, each with moments of its own besides those of all images (`PassOptions.by`); of a pass only.
      largest: look for the largest batch that fits as well.
      effort: of the compiler.
    """

    chip: Chip = "v5e"
    topology: str = "4x4"
    batch: int = 256
    detail: Program = "pass"
    model: int = 1
    dtype: Any = "float32"
    precision: Any = "highest"
    values: int = 0
    largest: bool = True
    effort: Effort = "full"

    def __post_init__(self) -> None:
        for name, choices in (("chip", Chip), ("detail", Program), ("effort", Effort)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}; got {getattr(self, name)!r}.")
        if self.batch < 1 or self.model < 1:
            raise ValueError(f"batch and model must be at least 1; got {self.batch} and {self.model}.")
        if self.values < 0 or (self.values and self.detail != "pass"):
            raise ValueError(f"values are counted by a pass; got values={self.values} with detail={self.detail!r}.")
        axes = self.topology.split("x")
        wanted = 3 if self.chip == "v5p" else 2
        if len(axes) != wanted or not all(axis.isdigit() and int(axis) for axis in axes):
            example = "2x2x4" if wanted == 3 else "4x4"
            raise ValueError(f"a {self.chip} topology has {wanted} axes, such as {example}; got {self.topology!r}.")
        if (n := prod(map(int, axes))) > MOST[self.chip]:
            raise ValueError(f"a {self.chip} slice has at most {MOST[self.chip]} chips; {self.topology} is {n}.")


def lower(config: VisionConfig, plan: Plan, mesh: Mesh) -> jax.stages.Lowered:
    """Lower the program for a mesh, from shapes alone.

    Raises:
      ValueError: batch, heads or neurons cannot be split evenly.
    """
    sharding.check(mesh.shape, config, plan.batch)

    def shape(leaf: Any, where: NamedSharding, dtype: Any = None) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, dtype or leaf.dtype, sharding=where)

    compute = Compute(dtype=plan.dtype, precision=plan.precision)
    vision = nnx.eval_shape(lambda: VisionTransformer(config, nnx.Rngs(0), compute))
    vision = sharding.place_vision(vision, mesh, lambda leaf, where: shape(leaf, where, compute.dtype))
    split = NamedSharding(mesh, sharding.spec("b"))
    images = jax.ShapeDtypeStruct((plan.batch, *config.image_size, 3), jnp.float32, sharding=split)
    if plan.detail == "plain":
        return jax.jit(lambda vision, images: vision.embed(images)).lower(vision, images)
    if plan.detail != "pass":
        return jax.jit(lambda vision, images: vision(images, detail=plan.detail)).lower(vision, images)
    stacks: dict[str, tuple[int, ...]] = {"all": ()} | ({"label": (plan.values,)} if plan.values else {})
    moments = jax.eval_shape(lambda: {kind: Collected.zero(config, *stack) for kind, stack in stacks.items()})
    where = jax.tree.map(lambda part: NamedSharding(mesh, part), moment_specs(moments))
    weights = jax.ShapeDtypeStruct((plan.batch,), jnp.float32, sharding=split)
    labels = {"label": jax.ShapeDtypeStruct((plan.batch,), jnp.int32, sharding=split)} if plan.values else {}
    return step.lower(jax.tree.map(shape, moments, where), vision, images, weights, labels, "normalized", mesh)


def make(config: VisionConfig, plan: Plan) -> dict[str, Any]:
    """Make the answer, in a Python that has libtpu.

    Returns:
      In JSON types: the question; `devices`; `fits`; and, where it does, `memory` (bytes of one device by kind, and
      their `peak`), `flops` (of one device and step, products alone), `collectives` (see
      `jaxclip.planner.work.Collective`), `unknown_loops`; `refusal`, what the compiler said, where it does not;
      `largest_batch`, the largest found to fit (`fits`) and the next tried that did not (`does_not`); `compile_s` and
      `versions`.

    Raises:
      ValueError: no such topology, or batch, heads or neurons cannot be split evenly.
    """
    mesh = _slice(plan)
    begin = time.monotonic()
    found = _compiled(config, plan, mesh)
    answer = {
        "question": asdict(plan), "devices": mesh.size, "mesh": dict(mesh.shape), **found,
        "compile_s": round(time.monotonic() - begin, 1),
        "versions": {name: metadata.version(name) for name in ("jax", "libtpu")},
    }  # fmt: skip
    if plan.largest:
        held = {plan.batch: found["memory"]["peak"] if found["fits"] else None}

        def peak(batch: int) -> int | None:
            if batch not in held:
                tried = _compiled(config, replace(plan, batch=batch), mesh)
                held[batch] = tried["memory"]["peak"] if tried["fits"] else None
            return held[batch]

        fits, does_not = largest_batch(peak, plan.batch, mesh.shape[sharding.DATA], HBM[plan.chip])
        answer["largest_batch"] = {"fits": fits, "does_not": does_not}
    return answer


def ask(config: VisionConfig, plan: Plan, python: str | Path | None = None) -> dict[str, Any]:
    """Ask a Python that has libtpu for what `make` says.

    Args:
      config: the image tower.
      plan: the question.
      python: that Python; by default the one that the environment variable JAXCLIP_PLANNER_PYTHON names, or this one.

    Raises:
      FileNotFoundError: it has no libtpu, or does not exist; how to make one.
      ValueError: the question has no answer.
    """
    python = python_with_libtpu(python)
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "question.json", Path(folder) / "answer.json"
        question.write_text(json.dumps({"config": asdict(config), "plan": asdict(plan)}))
        # libtpu asks a cloud machine's metadata server for the slice this process is on, and locks its chips against
        # other processes; this one is on none and holds none.
        apart = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
        environment = os.environ | apart | {"PYTHONPATH": folder}
        # This package alone, and nothing that is installed beside it.
        (Path(folder) / "jaxclip").symlink_to(Path(__file__).resolve().parents[1], target_is_directory=True)
        done = subprocess.run(
            [python, "-m", "jaxclip.planner.plan", question, answer], env=environment, capture_output=True, text=True
        )
        if not answer.is_file():
            tail = " ".join(done.stderr.strip().splitlines()[-3:]) or f"exit status {done.returncode}"
            raise ValueError(f"the planner failed in {python}: {tail}")
        said = json.loads(answer.read_text())
    if "error" in said:
        raise ValueError(said["error"])
    return said


def python_with_libtpu(python: str | Path | None = None) -> str:
    """Choose a Python to ask in: the one given, the one of the environment variable, or this one.

    Raises:
      FileNotFoundError: it has no libtpu, or does not exist.
    """
    chosen = str(python or os.environ.get(PYTHON) or "")
    how = (
        f"make one with `sh tpu/planner_env.sh FOLDER` (jax[tpu], flax, einops and jaxtyping) and pass "
        f"--python FOLDER/bin/python, or set {PYTHON} to it."
    )
    if not chosen:
        if util.find_spec("libtpu") is None:
            raise FileNotFoundError(f"the planner needs a Python of its own with libtpu, which this one lacks; {how}")
        return sys.executable
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('libtpu') is None)"
    try:
        found = subprocess.run([chosen, "-c", code], capture_output=True).returncode == 0
    except OSError as error:
        raise FileNotFoundError(f"{chosen} cannot be run ({error.strerror}); {how}") from error
    if not found:
        raise FileNotFoundError(f"{chosen} has no libtpu; {how}")
    return chosen


def _slice(plan: Plan) -> Mesh:
    from jax.experimental import topologies

    # One chip is a host of its own; libtpu takes every host to hold four unless told.
    single = {"chips_per_host_bounds": (1, 1, 1)} if set(plan.topology.split("x")) == {"1"} else {}
    try:
        devices = topologies.get_topology_desc(f"{plan.chip}:{plan.topology}", "tpu", **single).devices
    except Exception as error:
        said = " ".join(str(error).split())
        known = "INVALID_ARGUMENT" in said
        what = f"{plan.chip} has no topology {plan.topology}; pass another" if known else "libtpu does not start"
        raise ValueError(f"{what}. libtpu says: {said}") from error
    if len(devices) % plan.model:
        raise ValueError(
            f"model={plan.model} must divide the {counted(len(devices), 'device')} of {plan.chip} {plan.topology}."
        )
    return sharding.make_mesh(len(devices) // plan.model, plan.model, devices)


def _compiled(config: VisionConfig, plan: Plan, mesh: Mesh) -> dict[str, Any]:
    lowered = lower(config, plan, mesh)
    try:
        compiled = lowered.compile(compiler_options=QUICK if plan.effort == "quick" else None)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"fits": False, "refusal": _refusal(str(error))}
    return {"fits": True, "memory": _memory(compiled.memory_analysis()), **_told(work(compiled.as_text() or ""))}


def _memory(held: Any) -> dict[str, int]:
    kinds = {
        "arguments": held.argument_size_in_bytes, "results": held.output_size_in_bytes,
        "results_in_place_of_arguments": held.alias_size_in_bytes, "temporary": held.temp_size_in_bytes,
        "program": held.generated_code_size_in_bytes,
    }  # fmt: skip
    peak = sum(kinds.values()) - 2 * kinds["results_in_place_of_arguments"]
    return kinds | {"peak": peak}


def _told(found: Work) -> dict[str, Any]:
    collectives = [asdict(one) for one in found.collectives]
    return {"flops": found.flops, "collectives": collectives, "unknown_loops": found.loops}


def _refusal(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "hbm" in line.lower()]
    return (telling or lines)[0]


def _main(question: str, answer: str) -> None:
    asked = json.loads(Path(question).read_text())
    tuples: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in asked["config"].items()
    }
    try:
        said = make(VisionConfig(**tuples), Plan(**asked["plan"]))
    except ValueError as error:
        said = {"error": str(error)}
    Path(answer).write_text(json.dumps(said))


if __name__ == "__main__":
    _main(*sys.argv[1:])
