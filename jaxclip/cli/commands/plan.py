"""`jaxclip plan`: what a model will need on a TPU slice, before there is one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxclip.cli.checks import Failed, check_file, check_least, write_json
from jaxclip.config import DType, Precision


@dataclass(frozen=True)
class Plan:
    """Compile a model for a TPU slice without one: does it fit, how large may a batch be, what crosses the devices.

    bash tpu/planner_env.sh planner_env
    jaxclip plan ViT-L-14 --chip v5e --topology 4x4 --batch 256 --python planner_env/bin/python
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A native OpenCLIP architecture, with or without a tag; or a converted folder, or anything convert takes."""
    chip: Literal["v5e", "v5p", "v6e"] = "v5e"
    """Generation of TPU."""
    topology: str = "4x4"
    """Chips along each axis of the slice; three axes for v5p, such as 2x2x4."""
    batch: int = 256
    """Images of one step, on all devices together."""
    detail: Literal["pass", "plain", "full", "head", "token", "layer"] = "pass"
    """The program: a step of jaxclip run with moments, the embedding alone, or a decomposition's detail."""
    model_axis: int = 1
    """Devices that share one copy of the weights; the others each have their own part of the batch."""
    dtype: DType = "float32"
    """The model calculates in."""
    precision: Precision = "highest"
    """Of float32 products."""
    values: int = 0
    """Values of labels for which a pass collects moments as well (--by of jaxclip run), of all kinds together."""
    largest: bool = True
    """Look for the largest batch that fits as well, which compiles the program several times."""
    effort: Literal["full", "quick"] = "full"
    """Of the compiler: quick takes a fifth of the time, and memory is then an estimate."""
    python: Path | None = None
    """A Python with libtpu, which tpu/planner_env.sh makes; by default that of JAXCLIP_PLANNER_PYTHON, or this one."""
    out: Path | None = None
    """A JSON file for the answer."""

    def run(self) -> dict[str, Any]:
        check_file(self.out)
        check_least(batch=self.batch, model_axis=self.model_axis)
        from jaxclip.report.stages import stages

        with stages("plan") as at:
            at("starting")
            from jaxclip.devices import sharding
            from jaxclip.planner import plan
            from jaxclip.report.plan import print_plan

            question = plan.Plan(
                chip=self.chip, topology=self.topology, batch=self.batch, detail=self.detail, model=self.model_axis,
                dtype=self.dtype, precision=self.precision, values=self.values, largest=self.largest,
                effort=self.effort,
            )  # fmt: skip
            plan.python_with_libtpu(self.python)
            config = _config(self.model)
            sharding.check({sharding.DATA: 1, sharding.MODEL: self.model_axis}, config, self.batch)
            at("asking the compiler")
            result = {"model": self.model, **plan.ask(config, question, self.python)}
        print_plan(result)
        if self.out:
            write_json(self.out, result)
        if not result["fits"]:
            raise Failed(f"it does not fit: {result['refusal']}", result)
        return result


def _config(model: str) -> Any:
    """The image tower's description, for which no weights are read; an architecture needs no tag either."""
    from jaxclip.convert.formats.openclip import openclip_towers  # pyright: ignore[reportMissingImports]
    from jaxclip.convert.registry import model_cfg, model_names  # pyright: ignore[reportMissingImports]

    name = model.split("/")[0]
    if name in model_names() and not Path(model).exists():
        return openclip_towers(model_cfg(name)).vision
    from jaxclip.cli.inputs import model_config

    return model_config(model, texts=False).vision
