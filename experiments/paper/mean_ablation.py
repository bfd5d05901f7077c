"""Accuracy without MLPs, and without what the class token takes from itself: both replaced by their means.

    python experiments/paper/mean_ablation.py --data imagenet/val
    python experiments/paper/mean_ablation.py --scenes

In the paper: section 3, the table "MLPs mean-ablation", and what its text and appendix say of the class token. As in
the released code, the set that the paper calls MLPs takes the initial residual stream with it (MLPs alone stand beside
it), and means are over the same images.

Reads: ImageNet's validation images with their labels (devkit or a folder a class), three OpenCLIP models by name.
Takes: one pass a model, which other scripts use again (`--cost`); then seconds to minutes.
"""

from pathlib import Path

from common import Setting, Values, ablated, main, passed, with_scenes

REAL = Setting()
SCENES = with_scenes(REAL)
SETS = {
    "accuracy": "nothing", "without MLPs and input": "mlps_and_input", "without MLPs alone": "mlps_alone",
    "without the class token's own": "class_attn", "without MLPs, input and the class token's own": "both",
}  # fmt: skip


def measure(setting: Setting, model: str, out: Path) -> Values:
    return ablated(setting, passed(setting, model), SETS)


def run(arguments: list[str] | None = None) -> dict[str, Values]:
    return main("mean_ablation", __doc__, REAL, SCENES, measure, arguments)


if __name__ == "__main__":
    run()
