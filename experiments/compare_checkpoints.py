"""The same heads of two checkpoints beside each other: what texts they stand for, and whether their effects agree.

    python experiments/compare_checkpoints.py ONE OTHER --data scenes --limit 500 --out compared
    python experiments/compare_checkpoints.py CHECKPOINTS/1000 CHECKPOINTS/5000 --data scenes --same-space

ONE and OTHER are models as `jaxclip run` takes them, or steps that `train_scenes.py` saved. Both see the same images
(two passes with a bank, kept in OUT and not repeated) and read the same texts: one a line in --texts; without it, the
prompts of the scenes for the data "scenes", and the pool of descriptions for anything else.

OUT gets results.json, compared.png and compared.svg. results.json has, as lists [layer][head]: `similarity` (through
texts, `jaxclip.analyses.compare_heads.similarity`), `effect_correlation` (over images, mean over texts),
`shared_texts`, `explained_by_other` (share of ONE's variance that OTHER's texts explain) beside `explained`, `variance`
of either, and with --same-space `overlap` of their subspaces; `texts` holds the first picks of both, `matches` the most
similar head of OTHER for every head of ONE. Models whose layers or heads differ in number get `matches` and `texts`
alone.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scenes_checkpoints import open_model
from showing import save

from jaxclip.analyses.compare_heads import (
    effect_correlation,
    explained_by,
    pairwise_similarity,
    shared_texts,
    similarity,
    subspace_overlap,
)
from jaxclip.analyses.textspan import TextSpan, textspan
from jaxclip.clip import Clip
from jaxclip.data import open_data
from jaxclip.data.scenes import PROMPTS, prompts
from jaxclip.model.head_names import head_name
from jaxclip.runs.run import Run
from jaxclip.runs.run_pass import PassOptions, run_pass

POOL = Path(open_data.__file__).with_name("descriptions.txt")
BATCH = 256


def main() -> None:
    args = parse()
    texts = pool(args.texts, scenes=args.data == "scenes")
    source = open_data.open_data(args.data, split=args.split, limit=args.limit)
    runs, embedded, spans = [], [], []
    for name, model in (("one", args.one), ("other", args.other)):
        clip = open_model(model)
        options = PassOptions(bank=True, moments=True)
        runs.append(run_pass(clip, source, args.out / name, options, model=model, data=args.data))
        embedded.append(encoded(clip, texts))
        spans.append(bases(runs[-1], embedded[-1], args.steps))
    results = {"one": args.one, "other": args.other, "n_images": runs[0].n_images, "n_texts": len(texts)}
    results |= compared(runs, embedded, spans, same_space=args.same_space)
    results["texts"] = [picked(span, texts) for span in spans]
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    figure = draw(results)
    for suffix in ("png", "svg"):
        save(figure, args.out / f"compared.{suffix}")
    report(results)


def pool(path: Path | None, *, scenes: bool) -> list[str]:
    """Texts of a file, or those that fit the data."""
    if path is None and scenes:
        # A prompt can serve two factors; once is enough.
        return list(dict.fromkeys(text for factor in PROMPTS for some in prompts(factor) for text in some))
    return [line for line in (path or POOL).read_text(encoding="utf-8").splitlines() if line.strip()]


def encoded(clip: Clip, texts: list[str]) -> jax.Array:
    parts = [clip.encode_text(clip.tokenize(texts[i : i + BATCH]), normalize=True) for i in range(0, len(texts), BATCH)]
    return jnp.concatenate(parts)


def bases(run: Run, texts: jax.Array, steps: int) -> TextSpan:
    return jax.vmap(jax.vmap(lambda moments: textspan(moments, texts, steps=steps)))(run.moments.heads)


def compared(runs: list[Run], texts: list[jax.Array], spans: list[TextSpan], *, same_space: bool) -> dict[str, Any]:
    """What results.json holds beside the texts."""
    one, other = (run.moments.heads for run in runs)
    pairs = pairwise_similarity(one, other, (texts[0], texts[1]))
    flat = np.asarray(pairs).reshape(*pairs.shape[:2], -1)
    places = np.stack(np.unravel_index(flat.argmax(-1), pairs.shape[2:]), -1)
    found = {"matches": {"head": places.tolist(), "similarity": listed(flat.max(-1))}}
    if one.count.shape != other.count.shape:
        return found
    effects = [head_effects(run, some) for run, some in zip(runs, texts, strict=True)]
    tables = {
        "similarity": similarity(one, other, (texts[0], texts[1])),
        "effect_correlation": effect_correlation(*effects).mean(-1),
        "shared_texts": shared_texts(*spans),
        "explained": spans[0].explained[..., -1],
        "explained_by_other": explained_by(one, texts[0], spans[1].indices),
    }
    if same_space:
        tables["overlap"] = subspace_overlap(one, other)
    variances = {"variance": [listed(moments.variance) for moments in (one, other)]}
    return found | {name: listed(table) for name, table in tables.items()} | variances


def head_effects(run: Run, texts: jax.Array) -> np.ndarray:
    """[image, layer, head, text]; relative to the texts' mean, which is nobody's effect in particular."""
    directions = np.asarray(texts - texts.mean(0))
    matrices = np.einsum("lhue,se->lhus", np.asarray(run.matrices), directions)
    return np.einsum("blhu,lhus->blhs", run.bank.read("heads", run.rows), matrices)


def listed(table: Any) -> list:
    return np.round(np.asarray(table, np.float64), 4).tolist()


def picked(span: TextSpan, texts: list[str], n: int = 5) -> list:
    indices = np.asarray(span.indices)[..., :n]
    return [[[texts[i] for i in head if i >= 0] for head in layer] for layer in indices]


def draw(results: dict[str, Any]) -> Figure:
    """One layer-by-head panel a measure."""
    names = [name for name in ("similarity", "overlap", "effect_correlation", "shared_texts") if name in results]
    tables = {name.replace("_", " "): results[name] for name in names} or {
        "best match": results["matches"]["similarity"]
    }
    figure = Figure(figsize=(3.2 * len(tables) + 1, 3.6), layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False, sharey=True)[0]
    for panel, (name, table) in zip(panels, tables.items(), strict=True):
        panel.imshow(table, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        panel.set(title=name, xlabel="head", xticks=range(len(table[0])))
    panels[0].set(ylabel="layer", yticks=range(len(next(iter(tables.values())))))
    figure.colorbar(panels[-1].images[0], ax=list(panels))
    return figure


def report(results: dict[str, Any]) -> None:
    one, other = results["texts"]
    for layer, row in enumerate(results["matches"]["head"]):
        for head, its in enumerate(row):
            alike = results["matches"]["similarity"][layer][head]
            texts = f"{' / '.join(one[layer][head][:2])} | {' / '.join(other[its[0]][its[1]][:2])}"
            print(f"{head_name(layer, head)} is most like {head_name(*its)} ({alike:.2f}): {texts}")
    if "similarity" in results:
        print(f"same heads: similarity {np.mean(results['similarity']):.3f} in the mean", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("one")
    parser.add_argument("other")
    parser.add_argument("--data", required=True, help="images, as `jaxclip run` takes them")
    parser.add_argument("--split")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--texts", type=Path, help="one text a line")
    parser.add_argument("--steps", type=int, default=8, help="of TextSpan")
    parser.add_argument("--same-space", action="store_true", help="both are moments of one training")
    parser.add_argument("--out", type=Path, default=Path("compared"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
