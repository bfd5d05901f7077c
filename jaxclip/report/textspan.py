"""Text bases for people: what TextSpan picked for each head, as JSON, Markdown, a figure and a table."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from jaxclip.analyses.textspan import TextSpan
from jaxclip.data.text_pools import Pool
from jaxclip.files.printable import legible
from jaxclip.files.whole import replaced
from jaxclip.model.head_names import head_name
from jaxclip.numerics.arrays import counted
from jaxclip.report.colours import BLUE, on_paper
from jaxclip.report.tables import plain_text, print_table
from jaxclip.runs.run import Run

NOTHING = "(nothing left to explain)"


def bases_result(run: Run, pool: Pool, layers: Sequence[int], spans: TextSpan, rank: int) -> dict[str, Any]:
    """The bases of some layers' heads in plain JSON types.

    Returns:
      `run`, `model`, `pool` (its name), `n_texts`, `n_images`, `units` (of contributions), `steps`, `rank`, `layers`,
      and `heads`, by "layer.head": `layer`, `head`, `variance_share` (of the summed variance of all the model's heads),
      `texts`, `indices` (places in the pool), `categories` (of the texts, where the pool has them; else absent) and
      `explained` (share of the head's variance that the texts up to each one span). Where nothing was left to explain,
      as in a head that never varies, texts are null and indices -1.
    """
    variance = np.asarray(run.moments.heads.variance, np.float64)
    shares = variance / variance.sum() if variance.sum() > 0 else variance
    indices, explained = np.asarray(spans.indices), np.asarray(spans.explained)
    heads = {}
    for place, layer in enumerate(layers):
        for head in range(indices.shape[1]):
            picks = indices[place, head].tolist()
            entry = {
                "layer": int(layer), "head": head, "variance_share": float(shares[layer, head]),
                "texts": [pool.texts[i] if i >= 0 else None for i in picks], "indices": picks,
                "explained": explained[place, head].tolist(),
            }  # fmt: skip
            if pool.categories:
                entry["categories"] = [pool.categories[i] if i >= 0 else None for i in picks]
            heads[head_name(layer, head)] = entry
    return {
        "run": str(run.folder), "model": run.info["model"]["name"], "pool": pool.name, "n_texts": len(pool.texts),
        "n_images": run.n_images, "units": run.units, "steps": indices.shape[-1], "rank": rank,
        "layers": [int(layer) for layer in layers], "heads": heads,
    }  # fmt: skip


def save_bases(spans: TextSpan, path: Path) -> None:
    """The bases as arrays: `indices`, `directions`, `explained` and `mean`, stacked [layer, head]."""
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in vars(spans).items()}
    with replaced(path) as file:
        np.savez(file, **arrays)


def bases_markdown(result: dict[str, Any]) -> str:
    """One table a head."""
    lines = [
        f"# Text bases of {_cell(result['model'])}",
        "",
        f"{counted(result['n_images'], 'image')}, {counted(result['n_texts'], 'text')} ({_cell(result['pool'])}), "
        f"rank {result['rank']}. "
        f"Explained: share of the head's variance spanned by the texts so far.",
    ]
    for name, head in result["heads"].items():
        lines += ["", f"## Head {name}: {head['variance_share']:.1%} of the variance of all heads", ""]
        known = "categories" in head
        lines += ["| | text | category | explained |" if known else "| | text | explained |"]
        lines += ["|--:|:--|:--|--:|" if known else "|--:|:--|--:|"]
        for i, (text, explained) in enumerate(zip(head["texts"], head["explained"], strict=True)):
            cells = [str(i + 1), NOTHING if text is None else _cell(text)]
            cells += [_cell(head["categories"][i] or "")] if known else []
            lines.append(f"| {' | '.join([*cells, f'{explained:.1%}'])} |")
            if text is None:
                break
    return "\n".join(lines) + "\n"


@on_paper
def bases_figure(result: dict[str, Any], n_texts: int = 4) -> Figure:
    """The first texts of every head, layer by layer; a bar below them shows what all its texts explain."""
    layers = result["layers"]
    n_heads = len(result["heads"]) // len(layers)
    size = (2.5 * n_heads + 0.5, (0.55 + 0.3 * n_texts) * len(layers) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(layers), n_heads, squeeze=False)
    for axis, (name, head) in zip(grid.flat, result["heads"].items(), strict=True):
        axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
        axis.set_title(f"{name}  ({head['variance_share']:.1%} of all heads' variance)", fontsize=9, loc="left")
        shown = [text for text in head["texts"][:n_texts] if text is not None] or [NOTHING]
        for i, text in enumerate(shown):
            line = textwrap.shorten(text, 38, placeholder=" …")
            axis.text(0.02, 0.94 - 0.84 * i / n_texts, line, fontsize=8, va="top", clip_on=True)
        axis.barh(0.03, head["explained"][-1], height=0.06, color=BLUE, align="center")
    figure.suptitle(
        f"{result['model']}: first texts of each head; bar: variance explained by {result['steps']}", fontsize=10
    )
    return figure


def print_bases(result: dict[str, Any], n_texts: int = 3) -> None:
    """A row a head, for the terminal."""
    title = f"{result['model']}: text bases from {counted(result['n_texts'], 'text')} ({result['pool']})"
    table = Table(title=plain_text(title), title_justify="left")
    table.add_column("head")
    table.add_column("of all heads' variance", justify="right")
    table.add_column(f"explained by {result['steps']}", justify="right")
    table.add_column("first texts")
    for name, head in result["heads"].items():
        shown = [plain_text(text) for text in head["texts"][:n_texts] if text is not None]
        texts = Text("\n").join(shown or [Text(NOTHING)])
        table.add_row(name, f"{head['variance_share']:.1%}", f"{head['explained'][-1]:.0%}", texts)
    print_table(table)


def _cell(text: str) -> str:
    return " ".join(legible(text).split()).replace("\\", "\\\\").replace("|", "\\|")
