"""A plan for people: memory, work and what crosses the devices."""

from collections.abc import Mapping
from typing import Any

from jaxclip.report.tables import print_numbers

GIB = 2**30


def print_plan(result: Mapping[str, Any]) -> None:
    """What `jaxclip.planner.plan.make` found, in two tables."""
    asked = result["question"]
    title = f"{result['model']}, {asked['detail']}, batch {asked['batch']} on {asked['chip']} {asked['topology']}"
    rows = {"fits": ("yes" if result["fits"] else "no",)}
    if result["fits"]:
        rows |= {f"memory: {kind.replace('_', ' ')}": (size(n),) for kind, n in result["memory"].items()}
        rows["TFLOP a step"] = (f"{result['flops'] / 1e12:.3g}",)
    if largest := result.get("largest_batch"):
        rows["largest batch that fits"] = (str(largest["fits"] or "none"),)
        rows["smallest tried that does not"] = (str(largest["does_not"] or "none"),)
    print_numbers(title, rows, ("one device", ""))
    if not result["fits"]:
        return
    crossing = {
        f"{place}: {one['kind']}": (size(one["bytes"]), str(one["times"]), str(one["devices"]), one["source"])
        for place, one in enumerate(result["collectives"], 1)
    }
    columns = ("what crosses devices", "of one device", "times a step", "devices", "made for")
    print_numbers("collectives", crossing or {"none": ("",) * 4}, columns)


def size(n_bytes: int | float) -> str:
    """Bytes in the largest binary unit that leaves a number of at least one."""
    for unit, factor in (("GiB", GIB), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.3g} {unit}"
    return f"{n_bytes:.0f} B"
