"""Heads by property and what removing them does to groups: JSON, two figures, two tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxclip.analyses.debias import GroupCounts
from jaxclip.analyses.head_properties import PropertyShares
from jaxclip.analyses.training_groups import TrainingGroups
from jaxclip.model.head_names import head_name
from jaxclip.numerics.arrays import counted
from jaxclip.report.colours import BLUE, GREEN, GREY, RED, on_paper
from jaxclip.report.tables import print_numbers
from jaxclip.runs.run import Run
from jaxclip.runs.task import Classes

Heads = Sequence[tuple[int, int]]
MEANS = {
    "worst_group": "worst group",
    "weighted": "mean weighted by training groups",
    "overall": "mean over these images",
}
"""Accuracies that there is one of for all groups: keys, and words for people."""


def ranking_rows(shares: PropertyShares, late: int) -> list[dict[str, Any]]:
    """Heads of the last layers, best first.

    Returns:
      For each `head` ("layer.head") its `score`, `basis` and `variance` as `PropertyShares` has them, and `size`, its
      part of the variance of all heads of the model.
    """
    arrays = {name: np.asarray(getattr(shares, name)) for name in ("score", "basis", "variance", "size")}
    return [
        {"head": head_name(layer, head)} | {name: float(array[layer, head]) for name, array in arrays.items()}
        for layer, head, _ in shares.ranking(late=late)
    ]


def debias_result(
    run: Run,
    means: Run,
    classes: Classes,
    groups: str,
    counts: GroupCounts,
    *,
    chosen: Heads,
    proposed: bool,
    draws: Sequence[Heads],
    seed: int,
    late: int,
    property_: str | None,
    shares: PropertyShares | None,
    training: TrainingGroups | None = None,
) -> dict[str, Any]:
    """All of it in plain JSON types; accuracies lie between 0 and 1.

    Args:
      counts: by group of nothing ablated, `chosen`, each of `draws`, and the first 0, 1, .. heads of the ranking.
      training: images of each group in the training split, where that is known.

    Returns:
      `run`, `model`, `means_from` (a run's folder), `property`, `label` and `group_label` (kinds), `classes`,
      `n_images` (in a group), `chance`, `heads` (the ablated ones, "layer.head"), `proposed` (False where they were
      given), `ranking` (see `ranking_rows`; empty without a property), `training_groups` (`n_images` of each group of
      the training split and `source`, where they are from; None where nobody said), `before` and `after`: `overall` (of
      all images), `weighted` (the groups' accuracies weighted by the training groups; None without them, or where one
      of them has no images here), `worst_group` and `groups` (each group's `accuracy` and `n_images`); `random`: as
      many heads drawn from the `late_layers` last layers with `seed`, their `overall`, `weighted` and `worst_group`
      (`mean`, `std`, `min`, `max`), `groups` (mean accuracies) and `draws` (`heads`, `overall`, `weighted`,
      `worst_group` of every one); `curve`: `overall`, `weighted` and `worst_group` when the first 0, 1, .. heads of
      the ranking are ablated, or of the given heads where there is no ranking.
    """
    names = run.label_names[groups]
    first = 2 + len(draws)
    means_of = {"overall": counts.overall, "weighted": _weighted(counts, training, names), "worst_group": counts.worst}
    values = {what: [None if np.isnan(x) else float(x) for x in np.asarray(found)] for what, found in means_of.items()}
    each = [{what: found[at] for what, found in values.items()} for at in range(len(values["overall"]))]
    return {
        "run": str(run.folder), "model": run.info["model"]["name"], "means_from": str(means.folder),
        "property": property_, "label": classes.kind, "group_label": groups, "classes": list(classes.names),
        "n_images": int(np.asarray(counts.total[0]).sum()), "chance": 1 / len(classes.names),
        "heads": [head_name(*head) for head in chosen], "proposed": proposed,
        "ranking": ranking_rows(shares, late) if shares else [],
        "training_groups": training and {"source": training.source, "n_images": dict(training.n_images)},
        "before": each[0] | _groups(counts, 0, names), "after": each[1] | _groups(counts, 1, names),
        "random": {"late_layers": late, "seed": seed}
                  | _random(counts_of(counts, slice(2, first)), each[2:first], draws, names),
        "curve": {what: found[first:] for what, found in values.items()},
    }  # fmt: skip


def _weighted(counts: GroupCounts, training: TrainingGroups | None, names: Sequence[str]) -> Any:
    if training is None:
        return np.full(len(counts.overall), np.nan)
    return counts.weighted(np.array([training.n_images[name] for name in names], np.float32))


def counts_of(counts: GroupCounts, part: slice) -> GroupCounts:
    """Some of a stack of sets."""
    return GroupCounts(counts.correct[part], counts.total[part])


def _groups(counts: GroupCounts, at: int, names: Sequence[str]) -> dict[str, Any]:
    return {
        "groups": {
            name: {"accuracy": float(value), "n_images": int(n)}
            for name, value, n in zip(names, counts.groups[at], counts.total[at], strict=True)
            if n
        }
    }


def _random(
    counts: GroupCounts, found: Sequence[dict[str, Any]], draws: Sequence[Heads], names: Sequence[str]
) -> dict[str, Any]:
    groups = np.asarray(counts.groups).mean(0)
    return {
        **{what: _spread([one[what] for one in found]) for what in MEANS},
        "groups": {name: float(value) for name, value in zip(names, groups, strict=True) if np.isfinite(value)},
        "draws": [
            {"heads": [head_name(*one) for one in heads]} | one for heads, one in zip(draws, found, strict=True)
        ],
    }  # fmt: skip


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Of the draws, the standard deviation by n - 1; None where they have no such number."""
    if None in values:
        return None
    found = np.asarray(values, np.float64)
    std = float(found.std(ddof=1)) if len(found) > 1 else 0.0
    return {"mean": float(found.mean()), "std": std, "min": float(found.min()), "max": float(found.max())}


@on_paper
def groups_figure(result: dict[str, Any]) -> Figure:
    """Accuracy of each group, before and after, beside what random heads do."""
    figure = Figure(figsize=(max(6.0, 1.3 * len(result["before"]["groups"]) + 3), 4), layout="constrained")
    axis = figure.subplots()
    names = list(result["before"]["groups"])
    columns = [*names, "worst group", "overall"]
    places, random = np.arange(len(columns)), result["random"]
    for shift, part, colour, words in (
        (-0.27, "before", GREY, "all heads"), (0, "after", BLUE, "chosen heads ablated"),
    ):  # fmt: skip
        found = result[part]
        values = [found["groups"][name]["accuracy"] for name in names] + [found["worst_group"], found["overall"]]
        axis.bar(places + shift, values, 0.26, color=colour, label=words)
    values = [random["groups"][name] for name in names] + [random[what]["mean"] for what in ("worst_group", "overall")]
    errors = [np.nan] * len(names) + [random[what]["std"] for what in ("worst_group", "overall")]
    draws = counted(len(random["draws"]), "draw")
    words = f"as many random late heads ({draws}: mean, std)"
    axis.bar(places + 0.27, values, 0.26, yerr=errors, capsize=3, color=RED, label=words)
    axis.axhline(result["chance"], color="black", linewidth=1, linestyle="-.", label="chance")
    shown = [name.replace("_", " ") for name in columns]
    axis.set_xticks(places, shown, rotation=20 if max(map(len, shown)) > 12 else 0)
    title = f"{result['label']}, heads {', '.join(result['heads'])} ablated"
    axis.set(ylabel="zero-shot accuracy", ylim=(0, 1.02), title=_short(title))
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure


@on_paper
def ranking_figure(result: dict[str, Any], most: int = 24) -> Figure:
    """How much of each head the property accounts for; chosen heads are marked."""
    rows = result["ranking"][:most]
    figure = Figure(figsize=(6, 1.4 + 0.26 * len(rows)), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(rows))
    for shift, name, colour, words in (
        (-0.2, "basis", BLUE, "of what its TextSpan explains"), (0.2, "variance", GREEN, "of what any texts explain"),
    ):  # fmt: skip
        axis.barh(places + shift, [row[name] for row in rows], 0.38, color=colour, label=words)
    axis.plot([row["score"] for row in rows], places, "k.", label="score")
    axis.set_yticks(places, [row["head"] + (" *" if row["head"] in result["heads"] else "") for row in rows])
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xlabel=f"share of {result['property']}", ylabel="layer.head (* chosen)")
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    return figure


@on_paper
def curve_figure(result: dict[str, Any]) -> Figure:
    """Accuracy over how many heads are ablated, in the order of the ranking."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    n, random = len(result["heads"]), result["random"]
    for what, colour in (("worst_group", BLUE), ("overall", GREEN)):
        axis.plot(result["curve"][what], ".-", color=colour, label=what.replace("_", " "))
        if result["ranking"] and not result["proposed"]:  # the curve follows the ranking, which they do not
            axis.plot([n], [result["after"][what]], "D", color=colour, label=f"{what.replace('_', ' ')}, chosen heads")
        axis.errorbar([n], [random[what]["mean"]], yerr=[random[what]["std"]], fmt="s", color=colour, capsize=3,
                      markerfacecolor="white", label=f"{what.replace('_', ' ')}, {n} random late heads")  # fmt: skip
    axis.axvline(n, color=GREY, linewidth=1)
    axis.axhline(result["chance"], color="black", linewidth=1, linestyle="-.", label="chance")
    order = "best first" if result["ranking"] else "in the order given"
    axis.set(xlabel=f"heads ablated, {order}", ylabel="zero-shot accuracy", ylim=(0, 1.02), title=result["label"])
    axis.legend(fontsize=8)
    return figure


def print_debias(result: dict[str, Any]) -> None:
    """Both tables."""
    if result["ranking"]:
        print_ranking(result)
    print_groups(result)


def print_ranking(result: dict[str, Any], most: int = 12) -> None:
    """The ranking for the terminal: its first heads, and chosen ones wherever they stand."""
    ranking, chosen = result["ranking"], result["heads"]
    shown = [row for place, row in enumerate(ranking) if place < most or row["head"] in chosen]
    rows = {
        row["head"]: (*(f"{row[name]:.0%}" for name in ("score", "basis", "variance")), f"{row['size']:.1%}",
                      "chosen" if row["head"] in chosen else "")
        for row in shown
    }  # fmt: skip
    columns = ("layer.head", "score", "of its basis", "of its variance", "of all heads' variance", "")
    some = f" ({len(shown)} of {counted(len(ranking), 'head')})" if len(shown) < len(ranking) else ""
    print_numbers(f"Heads by how much {result['property']} accounts for{some}", rows, columns)


def print_groups(result: dict[str, Any]) -> None:
    """Accuracies before and after for the terminal."""
    before, after, random = (result[part] for part in ("before", "after", "random"))
    rows = {
        name: (str(found["n_images"]), f"{found['accuracy']:.1%}", f"{after['groups'][name]['accuracy']:.1%}",
               f"{random['groups'][name]:.1%}")
        for name, found in before["groups"].items()
    }  # fmt: skip
    for what, words in MEANS.items():
        if before.get(what) is None:
            rows[words] = ("", "unknown", "unknown", "unknown")
            continue
        control = f"{random[what]['mean']:.1%} ± {random[what]['std']:.1%}"
        n = str(result["n_images"]) if what == "overall" else ""
        rows[words] = (n, f"{before[what]:.1%}", f"{after[what]:.1%}", control)
    n_heads, n_draws = len(result["heads"]), len(random["draws"])
    columns = ("group", "images", "all heads", f"without {', '.join(result['heads'])}",
               f"without {counted(n_heads, 'random late head')}")  # fmt: skip
    spread = counted(n_draws, "draw") + (": mean ± std" if n_draws > 1 else "")
    print_numbers(f"Zero-shot accuracy on {result['label']}, chance {result['chance']:.1%}; at random, {spread}", rows,
                  columns)  # fmt: skip


def _short(text: str, most: int = 70) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
