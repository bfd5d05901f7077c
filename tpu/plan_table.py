"""Every native image tower on a slice of each generation, asked of the compiler: a JSON file, and docs/planner.md.

    python tpu/plan_table.py --python planner_env/bin/python                  # hours of one core: 32 towers, 3 slices
    python tpu/plan_table.py --models ViT-L-14 ViT-H-14 --slices v5e:4x4 --largest --python planner_env/bin/python
    python tpu/plan_table.py --page                                           # writes the page, compiles nothing

An answer is written as soon as it is there, and asked once: run it again to go on. Compiled quickly by default (see
`jaxclip.planner.plan.Effort`).
"""

import argparse
import json
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from jaxclip.convert.formats.openclip import openclip_towers  # pyright: ignore[reportMissingImports]
from jaxclip.convert.readers.tensors import CheckpointError  # pyright: ignore[reportMissingImports]
from jaxclip.convert.registry import model_cfg, model_names  # pyright: ignore[reportMissingImports]
from jaxclip.planner.plan import Chip, Plan, ask, python_with_libtpu
from jaxclip.report.plan import size

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results" / "plans.json"
PAGE = ROOT / "docs" / "planner.md"
BATCH = 256
SLICES = ("v5e:2x4", "v5p:2x2x1", "v6e:2x4")
BEGIN, END = "<!-- made by tpu/plan_table.py -->", "<!-- end -->"


def main() -> None:
    options = parse()
    answers = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.page:
        PAGE.write_text(page(PAGE.read_text(), answers))
        return
    begin, python = time.monotonic(), python_with_libtpu(options.python)
    for slice_ in options.slices:
        for model in options.models or towers():
            plan = planned(slice_, options)
            name = key(model, slice_, plan.detail, plan.batch, plan.dtype)
            if name in answers and (not options.largest or "largest_batch" in answers[name]):
                continue
            if time.monotonic() - begin > 60 * options.minutes:
                return
            answers[name] = short(ask(openclip_towers(model_cfg(model)).vision, plan, python))
            write(options.out, answers)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="architectures; by default every native image tower, once")
    parser.add_argument("--slices", nargs="+", default=SLICES, help="chip:topology")
    parser.add_argument("--detail", default="pass")
    parser.add_argument("--batch", type=int, default=BATCH, help="images of one step, on all devices together")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--largest", action="store_true", help="look for the largest batch as well")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after so many")
    parser.add_argument("--page", action="store_true", help="write the page of what is there")
    parser.add_argument("--python", help="a Python with libtpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def planned(slice_: str, options: argparse.Namespace) -> Plan:
    chip, topology = slice_.split(":")  # Plan says what a chip may be.
    return Plan(
        chip=cast(Chip, chip), topology=topology, batch=options.batch, detail=options.detail, dtype=options.dtype,
        largest=options.largest, effort=options.effort,
    )  # fmt: skip


def towers() -> dict[str, list[str]]:
    """Native models whose image towers are the same but for the activation, by the shortest of their names."""
    same: dict[Any, list[str]] = {}
    for name in sorted(model_names(), key=lambda name: (len(name), name)):
        with suppress(CheckpointError):  # CoCa's
            shape = replace(openclip_towers(model_cfg(name)).vision, activation="gelu")
            same.setdefault(shape, []).append(name)
    return dict(sorted((names[0], names[1:]) for names in same.values()))


def short(answer: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of an answer; of collectives the kind, the devices that take part, and bytes a step."""
    kept = {name: answer[name] for name in ("fits", "memory", "flops", "largest_batch", "refusal") if name in answer}
    crossing: Counter[tuple[str, int]] = Counter()
    for one in answer.get("collectives", ()):
        crossing[one["kind"], one["devices"]] += one["bytes"] * one["times"]
    asked = {"effort": answer["question"]["effort"], "devices": answer["devices"], "versions": answer["versions"]}
    collectives = [[kind, devices, n] for (kind, devices), n in crossing.items()]
    return {**asked, **kept, "collectives": collectives, "unknown_loops": answer.get("unknown_loops")}


def write(out: Path, answers: dict[str, Any]) -> None:
    """One line an answer."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(answers[key])}" for key in sorted(answers))
    out.write_text(f"{{\n{lines}\n}}\n")


def page(text: str, answers: dict[str, Any]) -> str:
    """The page with its table made anew."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table(answers)}\n\n{said(answers)}\n\n{END}{rest.split(END)[1]}"


def table(answers: dict[str, Any]) -> str:
    """One row a tower, one column a slice."""
    columns = ["image tower", "GFLOP an image", "crosses, a step", *(slice_.replace(":", " ") for slice_ in SLICES)]
    rows = [columns, ["---", *["---:"] * (len(columns) - 1)]]
    for model in towers():
        here = {slice_: answers.get(key(model, slice_)) for slice_ in SLICES}
        counted = next((answer for answer in here.values() if answer and answer["fits"]), None)
        work = crossing = ""
        if counted:
            work = f"{counted['flops'] * counted['devices'] / BATCH / 1e9:.1f}"
            crossing = size(sum(n for _, _, n in counted["collectives"]))
        rows.append([model, work, crossing, *(cell(answer) for answer in here.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(answer: dict[str, Any] | None) -> str:
    """Memory of one device, and the largest batch."""
    if answer is None:
        return "not asked"
    largest = answer.get("largest_batch", {}).get("fits")
    more = f"; to {largest:,}" if largest else ""
    return f"{size(answer['memory']['peak'])}{more}" if answer["fits"] else f"does not fit{more}"


def said(answers: dict[str, Any]) -> str:
    """What holds for all programs, and which models share a tower."""
    asked = [answers[key(model, slice_)] for model in towers() for slice_ in SLICES if key(model, slice_) in answers]
    fit = [answer for answer in asked if answer["fits"]]
    kinds = {(one[0], one[1] == answer["devices"]) for answer in fit for one in answer["collectives"]}
    crossing = ", ".join(f"{kind} over {'all' if all_ else 'some'} devices" for kind, all_ in sorted(kinds))
    loops = sum(answer["unknown_loops"] for answer in fit)
    versions = sorted({f"jax {a['versions']['jax']}, libtpu {a['versions']['libtpu']}" for a in asked})
    same = "; ".join(f"{model} stands for {', '.join(others)}" for model, others in towers().items() if others)
    return (
        f"{len(asked)} programs asked, {len(fit)} fit ({'; '.join(versions)}). Collectives in all of them: {crossing}. "
        f"Loops whose length is unknown: {loops}.\n\nImage towers of the same shape: {same}."
    )


def key(model: str, slice_: str, detail: str = "pass", batch: int = BATCH, dtype: str = "float32") -> str:
    return f"{model} {slice_} {detail} {batch} {dtype}"


if __name__ == "__main__":
    main()
