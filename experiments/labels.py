"""Do the labels tell the truth? Heads' names by TextSpan beside the factor of the scenes that explains most of them.

    jaxclip run scenes scenes --limit 2000 --bank --out scenes_run
    python experiments/labels.py scenes_run

A head's name is the property whose texts account for most of what the first texts of its basis explain. Its truth is
the factor that explains most of its variance, which needs no text: the variance between the factor's values over all
variance (adjusted for their number), over the scenes that the factor applies to. Writes labels.json and labels.png.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from showing import print_numbers, save

from jaxclip.analyses.head_properties import category_shares, label_shares
from jaxclip.analyses.textspan import head_bases
from jaxclip.model.head_names import head_name, parse_name
from jaxclip.runs.inputs import open_pool, pool_embeddings, run_model
from jaxclip.runs.run import Run, open_run

RESULTS = Path(__file__).resolve().parent / "results"


def true_shares(run: Run, factors: list[str]) -> np.ndarray:
    """Share of every head's variance that each factor explains: [factor, layer, head]."""
    shares = np.zeros((len(factors), run.config.vision.n_layers, run.config.vision.n_heads))
    for layer, head in np.ndindex(*shares.shape[1:]):
        samples = run.bank.head(layer, head)[run.rows] @ np.asarray(run.matrices[layer, head])
        for at, factor in enumerate(factors):
            labels = values(run, factor)[run.rows]
            shares[at, layer, head] = label_shares(samples[labels >= 0], labels[labels >= 0])
    return shares


def values(run: Run, factor: str) -> np.ndarray:
    """Of each scene, -1 where the factor does not apply. The kind of a scene has no label of its own."""
    if factor != "kind":
        return run.labels[factor]
    return np.where(run.labels["bird"] >= 0, 0, np.where(run.labels["shape"] >= 0, 1, 2))


def measure(run: Run, n_texts: int = 5) -> dict:
    """Everything, in plain JSON types.

    Returns:
      `model`, `n_images`, `n_texts` (that name a head), `factors`, `heads`: for each `head` its `size` (part of all
      heads' variance), `named` (by TextSpan), `named_by_first_text`, `true` (explains most), `share_of_true`,
      `share_of_named` (of the head's variance), `text_shares` (of what its texts explain, by factor), `shares` (of its
      variance, by factor; "kind" is whether a scene shows shapes, a pair or birds, for which there are no texts) and
      `texts` (its first ones); `agreement`: how often named is true among all heads and among several kinds of them
      (`n` heads, `named`, `named_by_first_text`; `by_size` weighs heads by size); `chance`: how often a name drawn
      from all heads' names is true.
    """
    pool = open_pool("scenes", run)
    factors = [name for name in dict.fromkeys(pool.categories) if len(run.labelled(name)) > 10]
    moments = run.moments.heads
    spans = head_bases(moments, pool_embeddings(pool, run, clip=run_model(run)), steps=max(n_texts, 10))
    told = category_shares(spans.first(n_texts), pool.categories, factors)
    first = category_shares(spans.first(1), pool.categories, factors).argmax(-1)
    shares = true_shares(run, [*factors, "kind"])
    size = np.asarray(moments.variance / moments.variance.sum())
    named, true = told.argmax(-1), shares[:-1].argmax(0)
    heads = [
        {
            "head": head_name(layer, head), "size": float(size[layer, head]), "named": factors[named[layer, head]],
            "named_by_first_text": factors[first[layer, head]], "true": factors[true[layer, head]],
            "share_of_true": float(shares[true[layer, head], layer, head]),
            "share_of_named": float(shares[named[layer, head], layer, head]),
            "text_shares": dict(zip(factors, told[layer, head].tolist(), strict=True)),
            "shares": dict(zip([*factors, "kind"], shares[:, layer, head].tolist(), strict=True)),
            "texts": [pool.texts[i] for i in np.asarray(spans.indices[layer, head])[:n_texts] if i >= 0],
        }
        for layer, head in np.ndindex(*size.shape)
    ]  # fmt: skip
    frequency = [np.bincount(x.ravel(), minlength=len(factors)) / x.size for x in (named, true)]
    return {
        "model": run.info["model"]["name"], "n_images": run.n_images, "n_texts": n_texts, "factors": factors,
        "agreement": agreement(heads, len(size)), "chance": float(frequency[0] @ frequency[1]), "heads": heads,
    }  # fmt: skip


def agreement(heads: list[dict], n_layers: int) -> dict:
    """How often names are true, of all heads and of some."""
    late = [one for one in heads if parse_name(one["head"])[0] >= n_layers - 4]
    chosen = {
        "all": heads, "last_four_layers": late,
        "one_factor_explains_half": [one for one in heads if one["share_of_true"] >= 0.5],
        "no_factor_explains_a_fifth": [one for one in heads if one["share_of_true"] < 0.2],
    }  # fmt: skip
    ways = ("named", "named_by_first_text")
    found = {
        name: {"n": len(some)} | {way: float(np.mean([one[way] == one["true"] for one in some])) for way in ways}
        for name, some in chosen.items()
        if some
    }
    sizes = np.array([one["size"] for one in heads])
    right = {way: float(sizes @ [one[way] == one["true"] for one in heads] / sizes.sum()) for way in ways}
    return found | {"by_size": {"n": len(heads)} | right}


def draw(result: dict) -> Figure:
    """Heads by factors: the share of variance explained; a dot where TextSpan names it, a frame where it is true."""
    factors, heads = result["factors"], result["heads"]
    shares = np.array([[one["shares"][factor] for factor in [*factors, "kind"]] for one in heads])
    figure = Figure(figsize=(1.6 + 0.75 * shares.shape[1], 1.5 + 0.24 * len(heads)), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(np.clip(shares, 0, 1), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, one in enumerate(heads):
        named, true = factors.index(one["named"]), factors.index(one["true"])
        axis.plot(named, row, "o", color="#ee6677" if named != true else "#ccbb44", markeredgecolor="black")
        axis.add_patch(_frame(true, row))
    right = result["agreement"]["all"]["named"]
    title = f"{result['model']}: dot, named by TextSpan; frame, explains most\n{right:.0%} of {len(heads)} heads agree"
    axis.set_title(title, fontsize=10)
    axis.set_xticks(range(shares.shape[1]), [*factors, "kind of scene"], rotation=40, ha="right")
    axis.set_yticks(range(len(heads)), [one["head"] for one in heads], fontsize=8)
    axis.set(ylabel="layer.head")
    figure.colorbar(drawn, ax=axis, label="share of the head's variance explained", shrink=0.8)
    return figure


def _frame(column: int, row: int):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.5)


def show(result: dict) -> None:
    """The heads and how often names are true."""
    rows = {
        one["head"]: (
            f"{one['size']:.1%}", one["named"], f"{one['share_of_named']:.0%}", one["true"],
            f"{one['share_of_true']:.0%}", "yes" if one["named"] == one["true"] else "",
            "; ".join(one["texts"][:1]),
        )
        for one in result["heads"]
    }  # fmt: skip
    columns = ("head", "size", "named", "explains", "true", "explains", "agree", "first text")
    print_numbers("Heads: what TextSpan names them, and which factor explains most of their variance", rows, columns)
    rows = {
        name.replace("_", " "): (str(found["n"]), f"{found['named']:.0%}", f"{found['named_by_first_text']:.0%}")
        for name, found in result["agreement"].items()
    }
    title = f"How often the name is true (chance {result['chance']:.0%})"
    print_numbers(title, rows, ("heads", "number", f"by {result['n_texts']} texts", "by the first text"))


def write(result: dict, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "labels.json").write_text(json.dumps(result, indent=1) + "\n")
    save(draw(result), out / "labels.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="a run over scenes with moments and a bank")
    parser.add_argument("--texts", type=int, default=5, help="how many texts name a head")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found = measure(open_run(args.run), args.texts)
    write(found, args.out)
    show(found)
