"""Plans of several models for several slices, as JSON and as a table for people.

    python tpu/plan_table.py --python planner_env/bin/python
    python tpu/plan_table.py --models ViT-L-14 ViT-H-14 --slices v5e:4x4 --details pass head --no-largest

Each answer is written as soon as it is there, and asked only once: run it again to go on.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxclip.convert.configs import openclip_towers
from jaxclip.convert.registry import model_cfg, model_names
from jaxclip.planner import Plan, ask, python_with_libtpu
from jaxclip.report.plan import size

OUT = Path(__file__).resolve().parents[1] / "experiments" / "results" / "plans.json"
SLICES = ("v5e:4x4", "v5p:2x2x4", "v6e:4x4")


def main() -> None:
    options = parse()
    python = python_with_libtpu(options.python)
    answers = json.loads(options.out.read_text()) if options.out.exists() else {}
    for model in options.models or distinct():
        config = openclip_towers(model_cfg(model)).vision
        for chip, topology in (slice_.split(":") for slice_ in options.slices):
            for detail in options.details:
                plan = Plan(
                    chip=chip, topology=topology, batch=options.batch, detail=detail, dtype=options.dtype,
                    largest=options.largest,
                )  # fmt: skip
                key = f"{model} {chip}:{topology} {detail} {options.batch} {options.dtype}"
                if key not in answers:
                    answers[key] = {"model": model, **ask(config, plan, python)}
                    options.out.parent.mkdir(parents=True, exist_ok=True)
                    options.out.write_text(json.dumps(answers, indent=1) + "\n")
    show(answers)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="architectures; by default every native image tower, once")
    parser.add_argument("--slices", nargs="+", default=SLICES, help="chip:topology")
    parser.add_argument("--details", nargs="+", default=["pass"])
    parser.add_argument("--batch", type=int, default=256, help="images of one step, on all devices together")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--largest", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--python", help="a Python with libtpu")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def distinct() -> list[str]:
    """Native models whose image towers differ, each by its shortest name."""
    towers: dict[Any, str] = {}
    for name in sorted(model_names(), key=lambda name: (len(name), name)):
        towers.setdefault(openclip_towers(model_cfg(name)).vision, name)
    return sorted(towers.values())


def show(answers: dict[str, dict[str, Any]]) -> None:
    table = Table(
        "model", "slice", "program", "batch", "fits", "peak of one device", "largest batch", "TFLOP", "crossing"
    )
    for answer in answers.values():
        asked, fits = answer["question"], answer["fits"]
        crossing = sum(one["bytes"] * one["times"] for one in answer.get("collectives", ()))
        table.add_row(
            answer["model"], f"{asked['chip']} {asked['topology']}", asked["detail"], str(asked["batch"]),
            "yes" if fits else "no", size(answer["memory"]["peak"]) if fits else "",
            str(answer.get("largest_batch", {}).get("fits") or ""), f"{answer['flops'] / 1e12:.3g}" if fits else "",
            size(crossing) if fits else "",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
