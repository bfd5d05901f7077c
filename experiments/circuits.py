"""What heads write about and neurons stand for, in words: OV circuits from weights alone, second-order effects of MLP
neurons from a few images.

    python experiments/circuits.py scenes                                   # every head's circuit, no data read
    python experiments/circuits.py scenes --data scenes --layer 3 --limit 200    # and neurons of layer 3

The model is anything `jaxclip run` takes. Texts: one a line in --texts; without it the scenes' prompts for the model
"scenes", the pool of descriptions for any other. OUT/results.json has `heads` [layer][head]: for each of the first
directions its share of the circuit and the texts nearest to both ends; and `neurons`, those whose second-order effects
vary most: their number, standard deviation, how much of the variance one direction holds (arXiv:2406.04341 finds nearly
all) and the few texts whose sum is that direction. A neuron takes (n_later * n_heads)^2 + n_later * n_heads * embed
numbers while images stream by; `--neurons` of them are taken at a time.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from compare_checkpoints import encoded, pool
from scenes_checkpoints import open_model

from jaxclip.analyses.directions import describe, principal, sparse_texts
from jaxclip.analyses.ov_circuits import ov_circuits
from jaxclip.analyses.second_order import neuron_moments
from jaxclip.clip import Clip
from jaxclip.data.open_data import open_data
from jaxclip.model.head_names import head_name
from jaxclip.runs.loader import batches
from jaxclip.zeroshot import contrast


def main() -> None:
    args = parse()
    clip = open_model(args.model)
    texts = pool(args.texts, scenes=args.model == "scenes" or args.data == "scenes")
    embedded = contrast(encoded(clip, texts))
    results: dict[str, Any] = {
        "model": args.model,
        "n_texts": len(texts),
        "heads": heads(clip, texts, embedded, args.n),
    }
    for layer, row in enumerate(results["heads"]):
        for head, (first, *_) in enumerate(row):
            ends = " <-> ".join(" / ".join(first[end][:2]) for end in ("toward", "away"))
            print(f"{head_name(layer, head)} {first['share']:.2f} {ends}")
    if args.data is not None:
        results["neurons"] = neurons(clip, args, texts, embedded)
        for found in results["neurons"]:
            terms = " ".join(f"{weight:+.2f} {text}" for text, weight in found["texts"])
            print(f"neuron {found['neuron']}, one direction holds {found['share']:.2f}: {terms}")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def heads(clip: Clip, texts: list[str], embedded: jax.Array, n: int) -> list:
    """For every head its first directions, strongest first."""
    circuits = ov_circuits(clip.vision)
    ends = jax.tree.map(np.asarray, describe(circuits.outputs[:, :, :n], embedded, n))
    share = np.asarray(circuits.share)

    def one(layer: int, head: int, k: int) -> dict[str, Any]:
        at = layer, head, k
        return {
            "share": float(share[at]),
            "toward": [texts[i] for i in ends.toward[at]],
            "away": [texts[i] for i in ends.away[at]],
        }

    n_layers, n_heads, n_kept = ends.toward.shape[:3]
    return [[[one(i, j, k) for k in range(n_kept)] for j in range(n_heads)] for i in range(n_layers)]


def neurons(clip: Clip, args: argparse.Namespace, texts: list[str], embedded: jax.Array) -> list[dict[str, Any]]:
    """The neurons of a layer whose second-order effects vary most."""
    source = open_data(args.data, split=args.split, limit=args.limit)
    found = []
    for start in range(0, clip.config.vision.mlp_dim, args.neurons):
        chosen = jnp.arange(start, min(start + args.neurons, clip.config.vision.mlp_dim))
        read = ((batch.images, batch.weights) for batch in batches(source, clip.config.preprocess, args.batch))
        moments = neuron_moments(clip.vision, read, args.layer, chosen)
        main_axis, deviation = principal(moments), np.sqrt(np.asarray(moments.variance))
        for place in np.argsort(-deviation)[: args.top]:
            few = sparse_texts(main_axis.directions[place], embedded, args.n)
            weights = zip(few.indices.tolist(), few.weights.tolist(), strict=True)
            found.append(
                {
                    "neuron": start + int(place),
                    "deviation": float(deviation[place]),
                    "share": float(main_axis.share[place]),
                    "texts": [(texts[i], weight) for i, weight in weights],
                    "explained": float(few.explained[-1]),
                }
            )
    return sorted(found, key=lambda one: -one["deviation"])[: args.top]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--texts", type=Path, help="one text a line")
    parser.add_argument("--n", type=int, default=4, help="directions of a head, texts at each end or of a neuron")
    parser.add_argument("--data", help="images for neurons, as `jaxclip run` takes them")
    parser.add_argument("--split")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--layer", type=int, default=0, help="whose neurons; not the last")
    parser.add_argument("--neurons", type=int, default=1024, help="taken at a time")
    parser.add_argument("--top", type=int, default=10, help="neurons shown")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("circuits"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
