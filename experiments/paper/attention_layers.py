"""Accuracy as attention layers are replaced by their means one after another, from the first.

    python experiments/paper/attention_layers.py --data imagenet/val
    python experiments/paper/attention_layers.py --scenes

In the paper: section 3, the figure "MSAs accumulated mean-ablation". Writes layers.png.

Reads: ImageNet's validation images with their labels, three OpenCLIP models by name.
Takes: one pass a model, which other scripts use again (`--cost`); then minutes.
"""

from pathlib import Path

from common import Setting, Values, ablated, curves, main, passed, save, with_scenes

REAL = Setting()
SCENES = with_scenes(REAL)


def measure(setting: Setting, model: str, out: Path) -> Values:
    run = passed(setting, model)
    counts = range(run.config.vision.n_layers + 1)
    found = ablated(setting, run, {f"first {n} layers": f"layers.{n}" for n in counts})
    save(curves({model: list(found.values())}, counts, "attention layers replaced by means"), out / "layers.png")
    return found


def run(arguments: list[str] | None = None) -> dict[str, Values]:
    return main("attention_layers", __doc__, REAL, SCENES, measure, arguments)


if __name__ == "__main__":
    run()
