"""Accuracy with the heads of the last four layers rebuilt from m texts each, for four pools of texts.

    python experiments/paper/completeness.py --data imagenet/val --words google_3498_english.txt
    python experiments/paper/completeness.py --scenes

In the paper: section 4.3, the figure of ImageNet accuracy over the number of texts. Pools: general descriptions; texts
about the classes (--class-texts FILE; by default the classes' own prompts, where the paper has descriptions written for
every class); common words (--words FILE, such as clip_text_span's google_3498_english.txt; left out without one, but on
the scenes the words of their captions); and as many random directions. All earlier attention is replaced by its means,
and MLPs are kept in one column of results and replaced in the other. Writes completeness.png.

Reads: ImageNet's validation images with their labels, three OpenCLIP models by name, the texts.
Takes: one pass a model, which other scripts use again (`--cost`); then minutes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from common import Setting, Values, curves, main, passed, save, task, with_scenes

from jaxclip.analyses.ablation import Ablation
from jaxclip.analyses.ablation_sweeps import ablation_sets, sweep, sweep_completeness
from jaxclip.analyses.textspan import head_bases, sizes
from jaxclip.clip import Clip
from jaxclip.data.scenes.captioning import one_factor_texts
from jaxclip.data.text_pools import read_pool
from jaxclip.runs.inputs import open_pool, pool_embeddings
from jaxclip.runs.run import Run
from jaxclip.runs.task import Classes
from jaxclip.zeroshot import text_embeddings


@dataclass(frozen=True)
class Completeness(Setting):
    """Besides: the general pool, files of texts about the classes and of common words, most texts a head (by default 60
    or the rank), and the seed of random directions."""

    texts: str | None = None
    class_texts: Path | None = None
    words: Path | None = None
    steps: int | None = None
    seed: int = 0


REAL = Completeness()
SCENES = with_scenes(REAL)
SHOWN = (0, 1, 5, 10, 20, 30, 60)
KINDS = {"MLPs kept": ("nothing", "early"), "MLPs and input replaced": ("mlps_and_input", "early_mlps_and_input")}


def measure(setting: Completeness, model: str, out: Path) -> Values:
    run = passed(setting, model)
    clip, classes, embeddings = task(setting, run)
    vision, rows, means = run.config.vision, classes.rows, run.means()
    sets, labels = ablation_sets(vision.n_layers, vision.n_heads, n_late=setting.late), classes.labels[rows]
    late = jax.tree.map(lambda x: x[-setting.late :], run.moments.heads)
    one = jax.tree.map(lambda x: x[0, 0], late)
    steps, _ = sizes(one, setting.steps or min(60, sizes(one, 1)[1]))
    whole = sweep(run, rows, means, embeddings, labels, Ablation.stack([sets[name] for _, name in KINDS.values()]))
    others = Ablation.stack([sets[name] for name, _ in KINDS.values()])
    intact = {f"{kind}, heads intact": 100 * float(right.mean()) for kind, right in zip(KINDS, whole, strict=True)}
    found, lines = dict(intact), {}
    for pool, texts in pools(setting, run, clip, classes).items():
        spans = head_bases(late, texts, steps=steps)
        right = sweep_completeness(run, rows, means, spans, embeddings, labels, others).mean(-1) * 100
        for kind, values in zip(KINDS, right, strict=True):
            lines[f"{pool}, {kind}"] = values.tolist()
            found |= {f"{kind}, {m} texts: {pool}": float(values[m]) for m in SHOWN if m <= steps}
    save(curves(lines, range(steps + 1), "texts a head", intact), out / "completeness.png")
    return found


def pools(setting: Completeness, run: Run, clip: Clip, classes: Classes) -> dict[str, Any]:
    """Unit directions by the name of their pool."""
    general = pool_embeddings(open_pool(setting.texts, run), run, clip=clip)
    about = [prompt for prompts in classes.prompts for prompt in prompts]
    if setting.class_texts:
        about = read_pool(setting.class_texts).texts
    random = np.random.default_rng(setting.seed).standard_normal(general.shape).astype(np.float32)
    found = {"general": general, "class texts": text_embeddings(clip, about)}
    if words := common_words(setting):
        found["words"] = text_embeddings(clip, words)
    return found | {"random": random / np.linalg.norm(random, axis=1, keepdims=True)}


def common_words(setting: Completeness) -> tuple[str, ...]:
    if setting.words:
        return read_pool(setting.words).texts
    if setting.data != "scenes":
        return ()
    return tuple(sorted({word for texts in one_factor_texts().values() for text in texts for word in text.split()}))


def run(arguments: list[str] | None = None) -> dict[str, Values]:
    return main("completeness", __doc__, REAL, SCENES, measure, arguments)


if __name__ == "__main__":
    run()
