"""Ablations for people: accuracies as JSON, three figures and a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure

from jaxclip.model.head_names import head_name
from jaxclip.numerics.arrays import counted
from jaxclip.report.colours import BLUE, GREEN, GREY, RED, YELLOW, diverging, on_paper
from jaxclip.report.figures import save_all
from jaxclip.report.tables import print_numbers
from jaxclip.runs.run import Run
from jaxclip.runs.task import Classes

Correct = Bool[np.ndarray, "image"]

PARTS = {
    "mlps_and_input": "MLPs and input", "mlps_alone": "MLPs alone", "class_attn": "class token's self-attention",
    "both": "MLPs, input and self-attention",
}  # fmt: skip
"""What is ablated besides attention layers and heads: keys, and words for people."""
COMPLETENESS = ("mlps_kept", "mlps_and_input_ablated")


def ablations_result(
    run: Run,
    means: Run,
    classes: Classes,
    correct: Mapping[str, Correct],
    chosen: Sequence[Sequence[tuple[int, int]]] = (),
) -> dict[str, Any]:
    """Accuracies under each of `jaxclip.analyses.ablation_sweeps.ablation_sets`, in plain JSON types.

    Returns:
      `run`, `model`, `means_from` (a run's folder), `label` (its kind), `classes`, `n_images` (those with a label),
      `chance` (one class drawn evenly), and accuracies between 0 and 1: `accuracy` (nothing ablated),
      `mlps_and_input` (all MLPs and the input term, what the paper calls MLPs), `mlps_alone`, `class_attn` (the class
      token's attention to itself), `both` (`mlps_and_input` and `class_attn`), `attention_layers` (entry n: the first
      n layers ablated), `heads` (by layer and head: this one ablated), `sets` (of `chosen`: `heads` and `accuracy`).
    """
    accuracy = {name: float(np.mean(right)) for name, right in correct.items()}
    vision = run.config.vision
    return {
        "run": str(run.folder), "model": run.info["model"]["name"], "means_from": str(means.folder),
        "label": classes.kind, "classes": list(classes.names), "n_images": len(classes.rows),
        "chance": 1 / len(classes.names), "accuracy": accuracy["nothing"],
        **{name: accuracy[name] for name in PARTS},
        "attention_layers": [accuracy[f"layers.{n}"] for n in range(vision.n_layers + 1)],
        "heads": [[accuracy[f"head.{head_name(i, j)}"] for j in range(vision.n_heads)] for i in range(vision.n_layers)],
        "sets": [
            {"heads": [head_name(*head) for head in heads], "accuracy": accuracy[f"set.{i}"]}
            for i, heads in enumerate(chosen)
        ],
    }  # fmt: skip


def completeness_result(
    correct: Bool[np.ndarray, "sets step image"], sets: Mapping[str, Correct], pool: str, n_late: int
) -> dict[str, Any]:
    """The completeness test in plain JSON types.

    Returns:
      `pool`, `n_texts` (0, 1, .., how many texts of each late head's basis are kept), `late_layers`, and twice, under
      `mlps_kept` and `mlps_and_input_ablated`: `accuracy` (entry m: from m texts a head), `heads_intact` (late heads as
      they are, earlier attention ablated: what the curve should reach).
    """
    entry = {
        name: {"accuracy": right.mean(-1).tolist(), "heads_intact": float(np.mean(sets[intact]))}
        for name, right, intact in zip(COMPLETENESS, correct, ("early", "early_mlps_and_input"), strict=True)
    }
    return {"pool": pool, "n_texts": list(range(correct.shape[1])), "late_layers": n_late} | entry


@on_paper
def layers_figure(result: dict[str, Any]) -> Figure:
    """Accuracy over how many attention layers are ablated, from the first."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    values = result["attention_layers"]
    axis.plot(range(len(values)), values, "o-", color=BLUE, label="attention layers, from the first")
    looks = (GREEN, (0, (5, 2))), (GREY, (0, (3, 1))), (YELLOW, (0, (1, 1.5))), (RED, (0, (5, 1.5, 1, 1.5)))
    for (name, words), (colour, dashes) in zip(PARTS.items(), looks, strict=True):
        axis.axhline(result[name], color=colour, linestyle=dashes, label=words)
    _accuracy_axes(axis, result, "attention layers ablated", "center left")
    return figure


@on_paper
def heads_figure(result: dict[str, Any]) -> Figure:
    """The layer-by-head grid of what ablating one head alone does to accuracy."""
    change = 100 * (np.array(result["heads"]) - result["accuracy"])
    n_layers, n_heads = change.shape
    figure = Figure(figsize=(max(4.5, 0.6 * n_heads + 2.5), max(3.0, 0.32 * n_layers + 1.4)), layout="constrained")
    axis = figure.subplots()
    limit = float(np.abs(change).max()) or 1.0
    drawn = axis.imshow(change, cmap=diverging(), vmin=-limit, vmax=limit, aspect="auto")
    title = f"{result['label']}: {result['accuracy']:.1%} with all heads"
    axis.set(xlabel="head", ylabel="layer", xticks=range(n_heads), yticks=range(n_layers), title=title)
    figure.colorbar(drawn, ax=axis, label="change of accuracy (points)\nwhen this head alone is ablated")
    return figure


@on_paper
def completeness_figure(result: dict[str, Any]) -> Figure:
    """Accuracy over the number of texts that late heads are rebuilt from."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    found = result["completeness"]
    for name, words, colour in zip(
        COMPLETENESS, ("MLPs and input kept", "MLPs and input ablated"), (BLUE, RED), strict=True
    ):
        axis.plot(found["n_texts"], found[name]["accuracy"], "-", color=colour, label=words)
        axis.axhline(found[name]["heads_intact"], color=colour, linestyle=":", label=f"{words}, late heads intact")
    words = f"texts a head (last {counted(found['late_layers'], 'layer')}), earlier attention ablated"
    _accuracy_axes(axis, result, words, "center right")
    return figure


def save_figures(result: dict[str, Any], out: Path, formats: Sequence[str]) -> list[Path]:
    """`layers`, `heads` and, where it was measured, `completeness`."""
    figures = {"layers": layers_figure, "heads": heads_figure}
    if "completeness" in result:
        figures["completeness"] = completeness_figure
    return [path for name, make in figures.items() for path in save_all(make(result), out / name, formats)]


def print_ablations(result: dict[str, Any]) -> None:
    """Accuracies for the terminal; of single heads those that matter most."""
    whole = result["accuracy"]
    rows = {"nothing": (f"{whole:.1%}", "")}

    def add(name: str, value: float) -> None:
        rows[name] = (f"{value:.1%}", f"{100 * (value - whole):+.1f}")

    for name, words in PARTS.items():
        add(words, result[name])
    for n, value in enumerate(result["attention_layers"][1:], 1):
        add(f"attention of the first {counted(n, 'layer')}", value)
    heads = np.array(result["heads"])
    for place in np.argsort(-np.abs(heads - whole), axis=None, kind="stable")[:5]:
        layer, head = np.unravel_index(place, heads.shape)
        add(f"head {head_name(layer, head)}", float(heads[layer, head]))
    for chosen in result["sets"]:
        add(f"heads {', '.join(chosen['heads'])}", chosen["accuracy"])
    if found := result.get("completeness"):
        for name, words in zip(COMPLETENESS, ("", ", MLPs and input ablated"), strict=True):
            n = found["n_texts"][-1]
            add(f"late heads intact, earlier ablated{words}", found[name]["heads_intact"])
            add(f"late heads from {counted(n, 'text')}, earlier ablated{words}", found[name]["accuracy"][-1])
    title = (
        f"{result['model']}: {result['label']}, {counted(result['n_images'], 'image')}, chance {result['chance']:.1%}"
    )
    print_numbers(title, rows, ("ablated", "accuracy", "points"))


def _accuracy_axes(axis: Any, result: dict[str, Any], words: str, legend: str) -> None:
    axis.axhline(result["accuracy"], color="black", linewidth=1, label="nothing ablated")
    axis.axhline(result["chance"], color="dimgray", linewidth=1, linestyle="-.", label="chance")
    axis.set(xlabel=words, ylabel="zero-shot accuracy", ylim=(0, 1.02), title=f"{result['model']}: {result['label']}")
    axis.legend(fontsize=8, loc=legend)
