"""The figures of docs/idea.md, from the scenes' model and one held-out scene.

python experiments/idea_figures.py
"""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from pages import ROOT

import jaxclip
from jaxclip.analyses.direct_effects import Effects, direct_effects, text_directions
from jaxclip.data.scenes import scene

TEXTS = ("a dark starry sky", "a purple crescent", "a yellow cross", "a green lawn")
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # told apart by colour-blind readers, and in print
UNIT = "cosine similarity, minus the texts' mean"


def main() -> None:
    # Words stay words, so that they can be searched and read aloud; no date, so that the same bytes come out again.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "jaxclip", "font.size": 9}
    clip = jaxclip.load("scenes")
    image = clip.preprocess([scene(0, "test", 3)["image"]])[0]
    effects = direct_effects(clip, image, text_directions(clip, TEXTS, relative=True))
    for name, figure in {"sum": sum_figure(effects), "heads": heads_figure(effects)}.items():
        path = ROOT / "docs" / "images" / f"{name}.svg"
        figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})


def sum_figure(effects: Effects) -> Figure:
    """Every term of one text's score, each bar beginning where the last one ended."""
    layers = range(len(effects.mlp))
    terms = [("init", effects.init[0], GREY)]
    for layer in layers:
        terms.append((f"attention {layer}", effects.heads[layer, :, 0].sum(), BLUE))
        terms.append((f"MLP {layer}", effects.mlp[layer, 0], ORANGE))
    values = np.array([value for _, value, _ in terms])
    ends = values.cumsum()
    figure = Figure(figsize=(7, 2.8))
    axis = figure.subplots()
    axis.bar(range(len(values)), values, bottom=ends - values, color=[colour for *_, colour in terms])
    axis.step(np.arange(len(ends) + 1) - 0.5, [*ends, ends[-1]], where="post", color="black", linewidth=0.6)
    axis.bar(len(values), effects.total[0], color="black")
    axis.set_xticks(range(len(values) + 1), [*(name for name, *_ in terms), "sum"], rotation=60, ha="right")
    axis.set_ylabel(UNIT)
    axis.set_title(f'"{TEXTS[0]}": the terms, and their sum', loc="left")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def heads_figure(effects: Effects) -> Figure:
    """Layer by head, a panel a text."""
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    axes = figure.subplots(1, len(TEXTS), sharey=True)
    most = np.abs(effects.heads).max()
    for i, (axis, text) in enumerate(zip(axes, TEXTS, strict=True)):
        axis.pcolormesh(effects.heads[:, :, i], cmap="PuOr_r", vmin=-most, vmax=most)
        axis.set_title(text, fontsize=9)
        axis.set_xlabel("head")
        axis.set_xticks(np.arange(effects.heads.shape[1]) + 0.5, range(effects.heads.shape[1]))
        axis.set_yticks(np.arange(len(effects.heads)) + 0.5, range(len(effects.heads)))
    axes[0].set_ylabel("layer")
    figure.colorbar(axes[-1].collections[0], ax=list(axes), label="direct effect")
    return figure


if __name__ == "__main__":
    main()
