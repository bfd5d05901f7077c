"""What the heads of the last four layers stand for: the texts that TextSpan picks, and how much they explain.

    python experiments/paper/text_bases.py --data imagenet/val
    python experiments/paper/text_bases.py --data imagenet/val --texts image_descriptions_general.txt
    python experiments/paper/text_bases.py --scenes

In the paper: section 4, the table of heads with their top texts, and the appendix' tables of all heads of the last
four layers. Texts are compared by eye: bases.md lists them head by head. For the paper's own picks give its pool with
--texts (clip_text_span's text_descriptions) and its rank with --rank 80.

Reads: ImageNet's validation images (labels are not needed), three OpenCLIP models by name, a pool of texts.
Takes: one pass a model, which other scripts use again (`--cost`); then seconds, from moments alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Setting, Values, command, main, passed, with_scenes


@dataclass(frozen=True)
class Bases(Setting):
    """Besides: the pool of texts, texts a head, and the rank of TextSpan."""

    texts: str | None = None
    steps: int = 20
    rank: int | None = None


REAL = Bases()
SCENES = with_scenes(REAL)


def measure(setting: Bases, model: str, out: Path) -> Values:
    run = passed(setting, model)
    layers = tuple(range(run.config.vision.n_layers))[-setting.late :]
    options = {"texts": setting.texts, "steps": setting.steps, "rank": setting.rank, "layers": layers}
    heads = command("textspan", run.folder, out=out, **options)["heads"].values()
    return {
        f"layer {layer}, explained by {n} texts": 100
        * float(np.mean([head["explained"][n - 1] for head in heads if head["layer"] == layer]))
        for layer in layers
        for n in (5, setting.steps)
    }


def run(arguments: list[str] | None = None) -> dict[str, Values]:
    return main("text_bases", __doc__, REAL, SCENES, measure, arguments)


if __name__ == "__main__":
    run()
