"""TextSpan from moments beside the algorithm as published, a NumPy loop over the samples; and all heads of a model.

    python experiments/bench_textspan.py
    python experiments/bench_textspan.py --reference ../reference     # and beside the released code itself

Samples and texts are random, the samples of one head's rank and with variances that fall off as a head's do.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench_peers import with_torch
from benching import Runs, by_turns, measure, parser, seconds, spread, vision_config

from jaxclip import Moments, textspan
from jaxclip.analyses.textspan import head_bases
from jaxclip.model.head_coordinates import unit_size


def main() -> None:
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--reference", type=Path, help="a clone of github.com/yossigandelsman/clip_text_span")
    arguments.add_argument("--samples", type=int, default=10_000)
    arguments.add_argument("--texts", type=int, default=3498, help="as many as the paper's general descriptions")
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--all-steps", type=int, default=60, help="for all heads")
    options = arguments.parse_args()
    measure("bench_textspan", options, {"one_head": one_head, "all_heads": all_heads})


def one_head(options: argparse.Namespace) -> dict[str, Any]:
    """Times by turns; and how many picks are those of the loop in float64, which is run once."""
    config = vision_config(options.model)
    coordinates, basis = samples(options.samples, unit_size(config.head_dim), config.embed_dim)
    texts, rank = directions(options.texts, config.embed_dim), config.head_dim
    contributions = coordinates @ basis
    inside = jax.block_until_ready(Moments.of(coordinates, basis=basis))
    outside = jax.block_until_ready(Moments.of(contributions))
    fast = jax.jit(textspan, static_argnames=("steps", "rank"))
    runs: Runs = {
        "head coordinates": lambda: fast(inside, texts, steps=options.steps, rank=rank),
        "joint space": lambda: fast(outside, texts, steps=options.steps, rank=rank),
        "moments": lambda: jax.tree.leaves(Moments.of(coordinates, basis=basis)),
        "loop": lambda: loop(contributions, texts, options.steps, rank) and None,
    }
    picks = {name: np.asarray(runs[name]().indices) for name in ("head coordinates", "joint space")}
    picks["loop"] = np.asarray(loop(contributions, texts, options.steps, rank))
    if options.reference:
        code = released(options.reference)
        names = list(range(len(texts)))

        def theirs() -> list[int]:
            return code.replace_with_iterative_removal(contributions, texts, names, options.steps, rank, "cpu")[1]

        picks["released code"] = np.asarray(theirs())
        runs["released code"] = lambda: theirs() and None
    exact = np.asarray(loop(contributions.astype(np.float64), texts.astype(np.float64), options.steps, rank))
    agree = {name: int((own == exact).sum()) for name, own in picks.items()}
    return by_turns(runs, options.repeats, "head coordinates") | {"picks as in float64": agree, "of": options.steps}


def loop(data: np.ndarray, texts: np.ndarray, steps: int, rank: int) -> list[int]:
    """Algorithm 1 of arXiv:2310.05916 over the samples themselves, in the dtype they come in."""
    top = np.linalg.svd(data, full_matrices=False)[2][:rank]
    texts, data, picks = texts @ top.T @ top, data - data.mean(0), []
    for _ in range(steps):
        pick = int((data @ texts.T).std(0).argmax())
        direction = texts[pick] / np.linalg.norm(texts[pick])
        data = data - np.outer(data @ direction, direction)
        texts = texts - np.outer(texts @ direction, direction)
        picks.append(pick)
    return picks


def all_heads(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds for every head of the model, from moments in head coordinates."""
    config = vision_config(options.model)
    stack, texts = stack_of_heads(options.model, config.n_layers), directions(options.texts, config.embed_dim)

    def run() -> Any:
        return head_bases(stack, texts, steps=options.all_steps)

    jax.block_until_ready(run())
    taken = spread([seconds(run) for _ in range(options.repeats)])
    n_heads = config.n_layers * config.n_heads
    return {"heads": n_heads, "texts": options.texts, "steps": options.all_steps, "seconds": taken}


def stack_of_heads(model: str, layers: int) -> Moments:
    """Moments [layer, head] of a few thousand samples each, the same in every layer."""
    config = vision_config(model)
    many = [samples(2000, unit_size(config.head_dim), config.embed_dim, seed) for seed in range(config.n_heads)]
    each = [Moments.of(coordinates, basis=basis) for coordinates, basis in many]
    return jax.tree.map(lambda *x: jnp.broadcast_to(jnp.stack(x), (layers, len(x), *x[0].shape)), *each)


def samples(n: int, units: int, embed: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates [n, units] about a mean, and the way into the joint space [units, embed]."""
    rng = np.random.default_rng(seed)
    falling = np.arange(1, units + 1) ** -0.7
    coordinates = (rng.standard_normal((n, units)) + rng.standard_normal(units)) * falling
    basis = rng.standard_normal((units, embed)) * embed**-0.5
    return coordinates.astype(np.float32), basis.astype(np.float32)


def directions(n: int, embed: int) -> np.ndarray:
    texts = np.random.default_rng(1).standard_normal((n, embed))
    return (texts / np.linalg.norm(texts, axis=-1, keepdims=True)).astype(np.float32)


def released(folder: Path) -> Any:
    """The released code's module; of torchvision's data sets, which it imports, this part uses none."""
    with_torch()
    sys.path.insert(0, str(folder.resolve()))
    datasets: Any = sys.modules.setdefault("torchvision.datasets", ModuleType("torchvision.datasets"))
    datasets.ImageNet = None
    return import_module("compute_complete_text_set")


if __name__ == "__main__":
    main()
