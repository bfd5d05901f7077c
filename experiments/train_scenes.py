"""Trains the small CLIP that the project ships, on the scenes: `python experiments/train_scenes.py --out DIR`.

Contrastive loss with a learned temperature (Radford et al., arXiv:2103.00020, section 2.3) over this project's own
towers. The data set is drawn once, lives on the device, and a scan walks through one shard of it at a time. Captions
that happen to be identical are not each other's negatives.

DIR gets params.safetensors (float32, the names of `jaxclip.model.params`), config.json and log.json, once training is
over; `export_scenes.py DIR` then ships it. `--preset cpu` is for two cores, `gpu` for an accelerator,
`tiny` for trying things out. `--seconds` fits the whole schedule into a wall-clock budget, `--steps` fixes it.

A run that was stopped, by whatever, is taken up again by the same command: every `--save-every` seconds parameters,
optimizer state, step and log are saved in DIR/checkpoints (`--checkpoints`), the last two are kept (`--keep 0` keeps
all, for `specialisation.py`), and the newest is where it goes on. Batches and captions follow from the step, so with
`--steps` nothing is seen twice or left out; `--seconds` counts from each start, and the schedule is fitted into what is
left of it. The drawn scenes in DIR/data (`--data`) are used again unless the code that draws them has changed. To start
afresh, name another DIR or delete it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from safetensors.numpy import save_file
from scenes_data import Request, ensure, tokenizer
from scenes_judge import Judge
from scenes_learning import SHARED, augment, contrastive_loss, hard_batches, learning_rate, optimizer
from scenes_presets import PRESETS, Preset, clip_config

from jaxclip.config import ClipConfig, Compute
from jaxclip.data.scenes import Split
from jaxclip.model.text import TextTransformer
from jaxclip.model.vision import VisionTransformer

START = time.monotonic()


class Towers:
    """Both towers as a function of a flat dict of parameters, named as in `jaxclip.model.params`."""

    def __init__(self, config: ClipConfig, compute: Compute):
        assert config.text is not None
        self.template = {
            "vision": VisionTransformer(config.vision, nnx.Rngs(0), compute),
            "text": TextTransformer(config.text, nnx.Rngs(1), compute),
        }
        leaves, self.treedef = jax.tree_util.tree_flatten_with_path(self.template)
        self.names = [
            jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value") for path, _ in leaves
        ]
        self.initial = dict(zip(self.names, (leaf for _, leaf in leaves), strict=True))
        self.initial["logit_scale"] = jnp.log(1 / 0.07)

    def __call__(self, params: dict[str, jax.Array]) -> tuple[VisionTransformer, TextTransformer]:
        towers = jax.tree.unflatten(self.treedef, [params[name] for name in self.names])
        return towers["vision"], towers["text"]


def shard_walker(preset: Preset, towers: Towers, adam: optax.GradientTransformation):
    """One pass over a shard: `(state, images, tokens, order [step batch], total) -> (state, losses)`."""

    def loss(params, images, tokens):
        vision, text = towers(params)
        return contrastive_loss(vision.embed(images), text(tokens), params["logit_scale"], tokens)

    @partial(jax.jit, donate_argnums=0)
    def walk(state, images, tokens, order, total):
        def step(state, which):
            augment_key, caption_key = jax.random.split(jax.random.fold_in(jax.random.key(2), state["step"]))
            caption = jax.random.randint(caption_key, which.shape, 0, preset.n_captions)
            chosen = tokens[which, caption].astype(jnp.int32)
            value, grads = jax.value_and_grad(loss)(
                state["params"], augment(augment_key, images[which], preset.shift), chosen
            )
            updates, opt = adam.update(grads, state["opt"], state["params"])
            rate = learning_rate(preset, state["step"], total)
            params = jax.tree.map(lambda p, u: p + rate * u, state["params"], updates)
            return {"params": params, "opt": opt, "step": state["step"] + 1}, value

        return jax.lax.scan(step, state, order)

    return walk


def say(*parts: object) -> None:
    print(f"[{time.monotonic() - START:7.1f} s]", *parts, flush=True)


def load_data(folder: Path, preset: Preset, seed: int) -> dict[str, dict[str, Any]]:
    """Drawn in processes of their own: forking one that holds an accelerator is not safe."""
    sizes: dict[Split, int] = {
        "train": preset.n_shards * preset.shard,
        "validation": preset.n_held_out,
        "test": preset.n_held_out,
    }
    loaded = {}
    for split, n in sizes.items():
        request = Request(split, n, preset.pixels, preset.n_captions, seed)
        script = Path(__file__).with_name("scenes_data.py")
        settings = ["--pixels", preset.pixels, "--captions", preset.n_captions, "--seed", seed]
        command = [sys.executable, script, folder / split, split, n, *settings]
        subprocess.run(list(map(str, command)), check=True)
        loaded[split] = ensure(folder / split, request)
        say(f"{split}: {n} scenes")
    return loaded


def train(args: argparse.Namespace, preset: Preset) -> None:
    data = load_data(args.data or args.out / "data", preset, args.seed)
    config = clip_config(preset, tokenizer().get_vocab_size())
    towers = Towers(config, Compute(dtype=preset.dtype, precision="default"))
    adam = optimizer(preset, list(towers.initial))
    state = {"params": towers.initial, "opt": adam.init(towers.initial), "step": jnp.zeros((), jnp.int32)}
    say(f"{sum(x.size for x in towers.initial.values()):,} parameters on {jax.devices()[0].device_kind}")
    checkpoints = ocp.CheckpointManager(
        (args.checkpoints or args.out / "checkpoints").resolve(),
        options=ocp.CheckpointManagerOptions(max_to_keep=args.keep or None),
    )
    seconds_before, log = 0.0, []
    if checkpoints.latest_step() is not None:
        saved = checkpoints.restore(
            checkpoints.latest_step(),
            args=ocp.args.Composite(state=ocp.args.StandardRestore(state), log=ocp.args.JsonRestore()),
        )
        state, (seconds_before, log) = saved["state"], (saved["log"]["seconds"], saved["log"]["log"])
        say(f"resumed at step {int(state['step'])}")

    def save() -> None:
        history = {"seconds": seconds_before + time.monotonic() - START, "log": log}
        checkpoints.save(
            int(state["step"]),
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), log=ocp.args.JsonSave(history)),
        )

    if checkpoints.latest_step() is None:
        save()
    shards = [slice(i * preset.shard, (i + 1) * preset.shard) for i in range(preset.n_shards)]
    # Shards stay below 2^31 bytes each, so that 32-bit indices reach every pixel of one.
    shards = [(jnp.asarray(data["train"]["images"][s]), jnp.asarray(data["train"]["tokens"][s])) for s in shards]
    walk = shard_walker(preset, towers, adam)
    judge = Judge(towers, data["validation"])
    say("data on device")
    total, pace = preset.steps if args.steps is None else args.steps, None
    last_judged = last_saved = time.monotonic()
    n_steps = preset.shard // preset.batch
    while (step := int(state["step"])) < total and (args.seconds is None or time.monotonic() - START < args.seconds):
        began = time.monotonic()
        shard = step // n_steps % preset.n_shards
        rows = slice(shard * preset.shard, (shard + 1) * preset.shard)
        here = {name: data["train"][name][rows] for name in (*SHARED, "bird")}
        state, losses = walk(state, *shards[shard], hard_batches(preset, here, step), jnp.float32(total))
        losses = np.asarray(losses)
        if not np.isfinite(losses).all():
            raise FloatingPointError(f"the loss is no longer finite after step {step}; lower the learning rate.")
        now = time.monotonic()
        if args.seconds is not None and pace is not None:
            # The first walk compiles; from the second on the pace says how many steps still fit.
            pace = 0.7 * pace + 0.3 * (now - began) if pace else now - began
            total = step + n_steps + max(0, int((args.seconds - (now - START)) / pace)) * n_steps
        pace = 0.0 if pace is None else pace
        if now - last_judged > args.judge_every or step + n_steps >= total:
            accuracy = judge(state["params"])
            entry = {"step": step + n_steps, "loss": round(float(losses.mean()), 4), **accuracy}
            entry["temperature"] = round(float(jnp.exp(-state["params"]["logit_scale"])), 4)
            log.append(entry)
            rate = preset.batch * n_steps / (now - began)
            say(f"of {total}, {rate:.0f} scenes/s", " ".join(f"{name} {value}" for name, value in entry.items()))
            last_judged = time.monotonic()
        if now - last_saved > args.save_every:
            save()
            last_saved = time.monotonic()
    if checkpoints.latest_step() != int(state["step"]):
        save()
    checkpoints.wait_until_finished()
    exact = Towers(config, Compute())
    results = {split: Judge(exact, data[split])(state["params"]) for split in ("validation", "test")}
    say("test", results["test"])
    write(args.out, config, preset, state, results, log, seconds_before + time.monotonic() - START)


def write(out: Path, config: ClipConfig, preset: Preset, state: dict, results: dict, log: list, seconds: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: np.array(value, np.float32) for name, value in state["params"].items()}, out / "params.safetensors"
    )
    (out / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    report = {
        "accuracy": results,
        "steps": int(state["step"]),
        "seconds": round(seconds, 1),
        "device": jax.devices()[0].device_kind,
        "versions": {
            "python": platform.python_version(), "jax": jax.__version__, "flax": flax.__version__,
            "optax": optax.__version__, "numpy": np.__version__,
        },
        "preset": asdict(preset),
        "log": log,
    }  # fmt: skip
    (out / "log.json").write_text(json.dumps(report, indent=2) + "\n")
    say(f"wrote {out}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", choices=PRESETS, default="gpu")
    parser.add_argument("--data", type=Path, help="where the drawn scenes are kept (default: OUT/data)")
    parser.add_argument("--checkpoints", type=Path, help="default: OUT/checkpoints")
    parser.add_argument("--steps", type=int, help="length of the schedule (default: the preset's)")
    parser.add_argument("--seconds", type=float, help="fit the schedule into this many seconds from the start")
    parser.add_argument("--judge-every", type=float, default=30, help="seconds between accuracies")
    parser.add_argument("--save-every", type=float, default=90, help="seconds between checkpoints")
    parser.add_argument("--keep", type=int, default=2, help="newest checkpoints kept; 0 keeps all")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("batch", "n_shards", "shard", "run", "n_layers", "warmup"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    parser.add_argument("--learning-rate", type=float)
    args = parser.parse_args()
    names = ("batch", "n_shards", "shard", "run", "n_layers", "warmup", "learning_rate")
    chosen = {name: getattr(args, name) for name in names}
    changes = {name: value for name, value in chosen.items() if value is not None}
    train(args, Preset(**(asdict(PRESETS[args.preset]) | changes)))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
