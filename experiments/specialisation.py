"""When heads specialise: what each head of the scenes' CLIP knows of every factor, at every saved training step.

    python experiments/specialisation.py CHECKPOINTS --out specialisation

CHECKPOINTS is the folder that `train_scenes.py --checkpoints` wrote (or several of them, of one run); no other file is
read, the scenes are drawn. A head knows of a factor what share of its variance lies between the factor's values
(`jaxclip.analyses.compare_heads.label_share`): lines are heads, coloured by layer, the dashed one is the model's
zero-shot accuracy.

OUT gets specialisation.png, specialisation.svg and results.json with `steps`, `accuracy` [factor][step], `shares`
[factor][step][layer][head] and `specialists`: for each factor its head of the last step, that head's share, and the
step from which on it has stayed at half of that or above. Beyond the paper: no number of it corresponds.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scenes_checkpoints import load_step, training_steps
from showing import save

from jaxclip.analyses.compare_heads import label_share, onset
from jaxclip.clip import Clip
from jaxclip.data.scenes import FACTORS, PROMPTS, prompts, scene
from jaxclip.model.head_coordinates import head_matrices, head_state
from jaxclip.model.head_names import head_name
from jaxclip.numerics.moments import by_label
from jaxclip.zeroshot import accuracy, class_embeddings

BATCH = 100
MOST_VALUES = max(len(FACTORS[factor]) for factor in PROMPTS)  # the same program for every factor


def main() -> None:
    args = parse()
    scenes = [scene(args.seed, args.split, index, n_captions=1) for index in range(args.images)]
    labels = {factor: np.array([one["labels"][factor] for one in scenes], np.int32) for factor in PROMPTS}
    pictures = np.stack([one["image"] for one in scenes])
    places = {step: folder / str(step) for folder in args.checkpoints for step in training_steps(folder)}
    shares: dict[str, list[np.ndarray]] = {factor: [] for factor in labels}
    known: dict[str, list[float]] = {factor: [] for factor in labels}
    for step in sorted(places):
        clip = load_step(places[step])
        heads, embeddings = passed(clip, pictures)
        classes = factor_classes(clip)
        for factor, values in labels.items():
            shares[factor].append(factor_share(clip, heads, values))
            there = values >= 0
            known[factor].append(accuracy(embeddings[there], classes[factor], values[there]))
        print(f"step {step}", *(f"{factor} {known[factor][-1]:.2f}" for factor in known), file=sys.stderr, flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    stacked = {factor: np.stack(values) for factor, values in shares.items()}
    results = summary(sorted(places), stacked, known)
    (args.out / "results.json").write_text(json.dumps(results) + "\n")
    figure = draw(sorted(places), stacked, known)
    for suffix in ("png", "svg"):
        save(figure, args.out / f"specialisation.{suffix}")
    few_colours(args.out / "specialisation.png")
    for factor, found in results["specialists"].items():
        print(
            f"{factor:12} head {found['layer']}.{found['head']} share {found['share']:.2f} since step {found['since']}"
        )


def passed(clip: Clip, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Head coordinates [image, layer, head, unit] and unit embeddings, all images at once: the scenes are small."""
    parts = []
    for start in range(0, len(pictures), BATCH):
        state = head_state(clip.vision, clip.preprocess(list(pictures[start : start + BATCH]))).normalized()
        parts.append((np.asarray(state.heads), np.asarray(state.embedding)))
    heads, embeddings = (np.concatenate(some) for some in zip(*parts, strict=True))
    return heads, embeddings


def factor_classes(clip: Clip) -> dict[str, np.ndarray]:
    """Every factor's zero-shot classifier, from one run of the text tower."""
    filled = [prompts(factor) for factor in PROMPTS]
    ends = np.cumsum([len(some) for some in filled])[:-1]
    classes = np.asarray(class_embeddings(clip, [texts for some in filled for texts in some]))
    return dict(zip(PROMPTS, np.split(classes, ends), strict=True))


def factor_share(clip: Clip, heads: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[layer, head]."""
    flat = jnp.asarray(heads.reshape(len(heads), -1, heads.shape[-1]).swapaxes(0, 1))
    found = jax.vmap(lambda samples: by_label(samples, values, MOST_VALUES), out_axes=1)(flat)
    matrices = head_matrices(clip.vision)
    return np.asarray(label_share(found, matrices.reshape(-1, *matrices.shape[2:]))).reshape(heads.shape[1:3])


def summary(steps: list[int], shares: dict[str, np.ndarray], known: dict[str, list[float]]) -> dict[str, Any]:
    """What results.json holds."""
    specialists = {}
    for factor, values in shares.items():
        layer, head = map(int, np.unravel_index(values[-1].argmax(), values[-1].shape))
        since = steps[int(onset(values[:, layer, head]))]
        specialists[factor] = {"layer": layer, "head": head, "share": float(values[-1, layer, head]), "since": since}
    rounded = {factor: np.round(np.float64(values), 3).tolist() for factor, values in shares.items()}
    accuracy = {factor: np.round(values, 3).tolist() for factor, values in known.items()}
    return {"steps": steps, "accuracy": accuracy, "shares": rounded, "specialists": specialists}


def draw(steps: list[int], shares: dict[str, np.ndarray], known: dict[str, list[float]]) -> Figure:
    """One panel a factor."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(2, (len(shares) + 1) // 2, sharex=True, sharey=True).ravel()
    n_layers = next(iter(shares.values())).shape[1]
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, n_layers))
    for panel, (factor, values) in zip(panels, shares.items(), strict=False):
        best = np.unravel_index(values[-1].argmax(), values[-1].shape)
        for layer, head in np.ndindex(values.shape[1:]):
            style = {"linewidth": 2.4 if (layer, head) == best else 0.8, "marker": ".", "markersize": 3}
            label = f"layer {layer}" if head == 0 else None
            panel.plot(steps, values[:, layer, head], color=colours[layer], label=label, **style)
        panel.plot(steps, known[factor], "k--", linewidth=1, label="zero-shot accuracy")
        panel.set(ylim=(0, 1))
        panel.set_title(f"{factor} (head {head_name(*best)})", fontsize="medium")
    for panel in panels[len(shares) :]:
        panel.set_axis_off()
    figure.supxlabel("training step")
    figure.supylabel("share of the head's variance between values")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False)
    return figure


def few_colours(path: Path) -> None:
    """A picture of lines takes a sixth of the bytes with a palette."""
    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(32, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoints", type=Path, nargs="+", help="folders of train_scenes.py's checkpoints")
    parser.add_argument("--out", type=Path, default=Path("specialisation"))
    parser.add_argument("--images", type=int, default=1000, help="held-out scenes")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
