"""Every table and figure, one after another: `python experiments/paper/all.py --scenes`.

Arguments go to all scripts, so only those that all of them have will do: --scenes, --limit, --out, --batch, --paper.
On real data run the scripts one by one, for they read different data.
"""

import sys
import time

import attention_layers
import completeness
import head_patch_maps
import mean_ablation
import retrieval
import segmentation
import text_bases
import top_images
import waterbirds

SCRIPTS = (
    mean_ablation, attention_layers, text_bases, completeness, waterbirds, segmentation, retrieval, head_patch_maps,
    top_images,
)  # fmt: skip


def run(arguments: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """All of them; numbers by script, model and name."""
    found = {}
    for script in SCRIPTS:
        started = time.monotonic()
        found[script.__name__] = script.run(list(arguments))
        print(f"{script.__name__}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    run(sys.argv[1:])
