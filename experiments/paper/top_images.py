"""The images that a head answers to most, and least, for the first texts of its basis.

    python experiments/paper/top_images.py --data imagenet/val
    python experiments/paper/top_images.py --scenes

In the paper: section 4, the figure of top images for head descriptions, and more of them in the appendix; they have no
number. Images are ordered by the inner product of the head's contribution and the text. A text names an axis, and a
head may well answer to its opposite, so both ends are shown where the paper has the first. Writes top_L.H.png for the
heads that vary most among the last four layers, and images.json with the images' names.

Reads: any images, OpenCLIP models by name, a pool of texts.
Takes: one pass a model, which other scripts use again (`--cost`); then a minute.
"""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Setting, Values, main, passed, save, with_scenes
from matplotlib.figure import Figure

from jaxclip.analyses.retrieval import bank_head_sum
from jaxclip.analyses.textspan import head_bases
from jaxclip.model.head_names import head_name
from jaxclip.runs.images import run_pictures
from jaxclip.runs.inputs import open_pool, pool_embeddings, run_model


@dataclass(frozen=True)
class Top(Setting):
    """Besides: the pool, how many heads, texts of each, and images at each end of a text."""

    texts: str | None = None
    n_heads: int = 6
    n_texts: int = 3
    n_shown: int = 4


REAL = Top()
SCENES = with_scenes(REAL, n_heads=2)


def measure(setting: Top, model: str, out: Path) -> Values:
    run = passed(setting, model)
    pool = open_pool(setting.texts, run)
    embeddings = np.asarray(pool_embeddings(pool, run, clip=run_model(run)))
    spans = head_bases(run.moments.heads, embeddings, steps=setting.n_texts)
    found = {}
    for layer, head in largest(np.asarray(run.moments.heads.variance), setting.late, setting.n_heads):
        picks = [int(pick) for pick in spans.indices[layer, head] if pick >= 0]
        scores = bank_head_sum(run.bank, run.matrices, [(layer, head)])[run.rows] @ embeddings[picks].T
        order = run.rows[np.argsort(-scores, axis=0, kind="stable")].T
        rows = np.concatenate([order[:, : setting.n_shown], order[:, -setting.n_shown :]], axis=1)
        needed = rows.ravel().tolist()
        shown = dict(zip(needed, run_pictures(run, needed, setting.data, setting.split), strict=True))
        texts = [pool.texts[pick] for pick in picks]
        save(draw(head_name(layer, head), texts, rows, shown), out / f"top_{head_name(layer, head)}.png")
        found[head_name(layer, head)] = {
            text: {"most": names[: setting.n_shown], "least": names[: -setting.n_shown - 1 : -1]}
            for text, names in zip(texts, ([run.names[row] for row in some] for some in rows), strict=True)
        }
    (out / "images.json").write_text(json.dumps(found, indent=1) + "\n")
    return {}


def largest(variance: np.ndarray, late: int, n: int) -> list[tuple[int, int]]:
    """Heads of the last layers, those that vary most first."""
    first = len(variance) - late
    order = np.argsort(-variance[first:], axis=None)[:n]
    return [(int(place // variance.shape[1]) + first, int(place % variance.shape[1])) for place in order]


def draw(name: str, texts: list[str], rows: np.ndarray, shown: dict[int, np.ndarray]) -> Figure:
    """A row of images a text, from the most to the least."""
    figure = Figure(figsize=(1.3 * rows.shape[1] + 2, 1.5 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(*rows.shape, squeeze=False)
    for axes, text, some in zip(grid, texts, rows.tolist(), strict=True):
        for axis, row in zip(axes, some, strict=True):
            axis.imshow(shown[row])
            axis.set(xticks=[], yticks=[])
        axes[0].set_ylabel(textwrap.fill(text, 18), fontsize=8, rotation=0, ha="right", va="center")
    grid[0, 0].set_title("most", fontsize=9)
    grid[0, -1].set_title("least", fontsize=9)
    figure.suptitle(f"head {name}", fontsize=9)
    return figure


def run(arguments: list[str] | None = None) -> dict[str, Values]:
    return main("top_images", __doc__, REAL, SCENES, measure, arguments)


if __name__ == "__main__":
    run()
