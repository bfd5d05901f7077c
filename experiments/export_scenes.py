"""Ships a CLIP trained on the scenes: `python experiments/export_scenes.py TRAINED [--out DIR]`.

TRAINED is what `train_scenes.py --out` wrote. DIR (default: the package's own `scenes_clip/`) becomes an OpenCLIP
checkpoint that open_clip and `jaxclip` load as it is: float16 weights, config, preprocessing, the scenes' tokenizer,
and a model card made from the training log.
"""

import argparse
import json
from collections import Counter
from math import prod
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from jaxclip.config import ClipConfig
from jaxclip.convert import export_openclip  # pyright: ignore[reportMissingImports]
from jaxclip.data.scenes import CHECKPOINT, FACTORS, PROMPTS, sample_spec, scene_rng
from jaxclip.model.params import shapes, unflatten

MOST_BYTES = 8_000_000
MAX_LOGIT_SCALE = np.log(100)
DTYPE = "float16"

CARD = """---
license: apache-2.0
library_name: open_clip
tags: [clip, zero-shot-image-classification]
---
# A small CLIP of procedural scenes

Image and text towers in OpenCLIP's format, {n_params:,} parameters, {dtype}. It exists so that a decomposition of a
real CLIP can be tried without a download; it knows nothing but the scenes of `jaxclip.data.scenes`.

| | image | text |
|---|---|---|
| layers | {vision[n_layers]} | {text[n_layers]} |
| heads | {vision[n_heads]} | {text[n_heads]} |
| width | {vision[width]} | {text[width]} |
| input | {pixels} x {pixels} pixels, {n_patches} patches of {patch} x {patch} | {context} tokens |

Both end in {vision[embed_dim]} dimensions; activation {vision[activation]}.

## Training
* Data: {n_scenes:,} procedural scenes (split `train`), {preset[n_captions]} captions each. In it, bird and background
  nearly always agree: ducks on water, finches on land.
* {steps:,} steps of {preset[batch]} scenes, {minutes:.0f} minutes on {device}, drawing of the data included;
  {preset[dtype]}; {versions}.
* Contrastive loss with a learned temperature. Optimizer: Muon for the matrices of the blocks, Adam for the rest, peak
  learning rate {preset[learning_rate]:g}, {preset[warmup]} steps of warmup, then a cosine to zero; weight decay
  {preset[weight_decay]:g}; images displaced by at most {preset[shift]} pixels.
* Batches are made of runs of {run} scenes that are alike in most of background, colour, number, size and texture, so
  that the others have to tell them apart; birds keep random company, so that their cue stays spurious.{note}

`experiments/train_scenes.py` trains it and `experiments/export_scenes.py` writes this folder.

## Zero-shot accuracy, per cent
Averaged prompts, {preset[n_held_out]:,} held-out scenes a split, both balanced over the four bird groups; measured
before the weights were rounded to {dtype}. A factor is judged where a scene has one value of it. *Chance* is a uniform
guess; *commonest* is always answering the value that is most frequent in the test split.

| factor | values | validation | test | chance | commonest |
|---|---|---|---|---|---|
{factors}

Birds by group (two kinds, chance 50):

| group | share of bird scenes in training | validation | test |
|---|---|---|---|
{groups}

## Limits
* Any other picture is outside what it was trained on: its answers to photographs mean nothing.
* Bird and background are spuriously correlated in training on purpose. Where the accuracies of the four groups differ,
  the model uses the background; it is meant for studying that, not for use.
* It reads the English of the captions. The vocabulary has {vocabulary:,} tokens; other words are spelt in pieces
  without meaning.
* One training run, one seed.

## Licence
Apache-2.0: weights, tokenizer, data and the code that made them.
"""


def load_trained(folder: Path) -> tuple[dict[str, Any], ClipConfig, dict[str, Any]]:
    """Parameters, config and training report of a finished run.

    Raises:
      FileNotFoundError: the run has not finished.
      ValueError: parameters and config are not of one model.
    """
    paths = [folder / name for name in ("params.safetensors", "config.json", "log.json")]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise FileNotFoundError(f"{folder} has no {', '.join(missing)}; pass the --out folder of a finished training.")
    leaves = load_file(paths[0])
    config, report = ClipConfig.from_dict(json.loads(paths[1].read_text())), json.loads(paths[2].read_text())
    expected, found = shapes(config), {name: leaf.shape for name, leaf in leaves.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        raise ValueError(f"{paths[0]} is not of the config beside it: {', '.join(wrong)}.")
    return unflatten(leaves), config, report


def shipped(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters with the temperature that training used, whose inverse is never above 100."""
    return {**params, "logit_scale": np.minimum(params["logit_scale"], np.float32(MAX_LOGIT_SCALE))}


def commonest(n_scenes: int, seed: int) -> dict[str, float]:
    """Factor -> share of its most frequent value among the test scenes that have one."""
    counts: dict[str, Counter[int]] = {factor: Counter() for factor in PROMPTS}
    for index in range(n_scenes):
        labels = sample_spec(scene_rng(seed, "test", index), "test", index).labels
        for factor, count in counts.items():
            count.update([labels[factor]] if labels[factor] >= 0 else [])
    return {factor: max(count.values()) / count.total() for factor, count in counts.items()}


def bird_shares(n_scenes: int, seed: int) -> dict[str, float]:
    """Bird group -> its share of the bird scenes in training."""
    labels = (sample_spec(scene_rng(seed, "train", index), "train", index).labels for index in range(n_scenes))
    count = Counter(FACTORS["group"][label["group"]] for label in labels if label["group"] >= 0)
    return {group: count[group] / count.total() for group in FACTORS["group"]}


def card(config: ClipConfig, report: dict[str, Any], n_params: int, seed: int, note: str = "") -> str:
    """The model card, from nothing but what the run recorded and the data set it names."""
    assert config.text is not None
    preset, accuracy = report["preset"], report["accuracy"]
    often, shares = commonest(preset["n_held_out"], seed), bird_shares(4000, seed)

    def row(name: str, before: tuple[str, ...] = (), after: tuple[float, ...] = ()) -> str:
        measured = [accuracy["validation"][name], accuracy["test"][name], *after]
        return f"| {' | '.join([name.replace('_', ' '), *before, *(f'{100 * x:.1f}' for x in measured)])} |"

    return CARD.format(
        n_params=n_params,
        run=preset.get("run", 1),
        note=note and "\n" + fill(f"* {note}", 118, subsequent_indent="  "),
        dtype=DTYPE,
        vision=vars(config.vision),
        text=vars(config.text),
        context=config.text.context,
        vocabulary=config.text.vocab_size,
        pixels=preset["pixels"],
        patch=preset["patch"],
        n_patches=prod(config.vision.grid),
        preset=preset,
        n_scenes=preset["n_shards"] * preset["shard"],
        steps=report["steps"],
        minutes=report["seconds"] / 60,
        device=report["device"],
        versions=", ".join(f"{name} {version}" for name, version in report["versions"].items()),
        factors="\n".join(
            row(factor, (str(len(FACTORS[factor])),), (1 / len(FACTORS[factor]), often[factor])) for factor in PROMPTS
        ),
        groups="\n".join(row(group, (f"{100 * shares[group]:.1f}",)) for group in FACTORS["group"]),
    )


def export(trained: Path, out: Path, seed: int, note: str = "") -> Path:
    params, config, report = load_trained(trained)
    assert config.text is not None
    words = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json")).get_vocab_size()
    if config.text.vocab_size != words:
        raise ValueError(f"the tokenizer has {words} tokens, the text tower {config.text.vocab_size}; train it again.")
    n_params = sum(leaf.size for leaf in load_file(trained / "params.safetensors").values())
    if (n_bytes := n_params * np.dtype(DTYPE).itemsize) > MOST_BYTES:
        raise ValueError(f"the weights take {n_bytes:,} bytes in {DTYPE}; at most {MOST_BYTES:,} are shipped.")
    export_openclip(shipped(params), config, out, dtype=DTYPE, tokenizer_dir=CHECKPOINT)
    (out / "README.md").write_text(card(config, report, n_params, seed, note))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("trained", type=Path, help="the --out folder of experiments/train_scenes.py")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="folder to write the checkpoint into")
    parser.add_argument("--seed", type=int, default=0, help="the --seed of the training run")
    parser.add_argument("--note", default="", help="what the log does not know, for the card's account of the training")
    args = parser.parse_args()
    out = export(args.trained, args.out, args.seed, args.note)
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size:>10,} {path.name}")


if __name__ == "__main__":
    main()
