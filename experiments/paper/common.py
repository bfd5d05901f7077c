"""What the scripts of the paper's tables and figures share: their settings, passes that serve all of them, and ours
beside the paper's.

Every script takes its settings as options (`--help`), and besides

    --scenes        the small CLIP and the scenes that come with jaxclip, in place of the real models and data
    --cost          how long and how much memory, for this machine, and nothing else
    --paper FILE    the paper's values to print beside ours: {SCRIPT: {MODEL: {NAME: VALUE}}}, names as printed

The paper's values are not shipped: they are read off its pages by whoever compares.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import tyro
from matplotlib.figure import Figure

import jaxclip
from jaxclip.analyses.ablation import Ablation
from jaxclip.analyses.ablation_sweeps import ablation_sets, sweep
from jaxclip.clip import Clip
from jaxclip.data.open_data import open_data
from jaxclip.runs.inputs import run_model
from jaxclip.runs.run import Run
from jaxclip.runs.run_pass import PassOptions, run_pass
from jaxclip.runs.task import Classes, run_classes
from jaxclip.zeroshot import class_embeddings

sys.path.append(str(Path(__file__).resolve().parents[1]))
import cost
from commands import command as command
from showing import print_numbers, say
from showing import save as save

LAION = ("ViT-B-16/laion2b_s34b_b88k", "ViT-L-14/laion2b_s32b_b82k", "ViT-H-14/laion2b_s32b_b79k")
Values = dict[str, float]


@dataclass(frozen=True)
class Setting:
    """What a script runs on.

    Attributes:
      models: as `jaxclip run` takes them.
      data: likewise.
      split: of the data.
      label: the kind of label that is classified.
      classes: a file of class names, one a line, in the order of the labels; by default the data's own.
      templates: of prompts, a file or a shipped list; by default the scenes' own, or "a photo of {a}.".
      limit: only the first so many images.
      n_images: how many there are, for --cost.
      batch: images of one step.
      late: how many last layers count as late.
      out: a folder for results; passes in it are shared by the scripts and not repeated.
      paper: a JSON file of the paper's values.
    """

    models: tuple[str, ...] = LAION
    data: str = "imagenet/val"
    split: str | None = None
    label: str = "label"
    classes: Path | None = None
    templates: str | None = "general"
    limit: int | None = None
    n_images: int = 50_000
    batch: int = 32
    late: int = 4
    out: Path = Path("paper_out")
    paper: Path | None = None


SCENES: dict[str, Any] = {
    "models": ("scenes",), "data": "scenes", "split": "test", "label": "shape", "templates": None, "limit": 600,
    "n_images": 600, "out": Path("paper_scenes"),
}  # fmt: skip
S = TypeVar("S", bound=Setting)


def main(
    script: str, doc: str | None, real: S, scenes: S, measure: Callable[[S, str, Path], Values], arguments: Any = None
) -> dict[str, Values]:
    """Measure every model of the setting, write OUT/SCRIPT/results.json, and print ours beside the paper's.

    Args:
      measure: of the setting, a model and a folder for figures, returns numbers by name.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    on_scenes, only_cost = (flag in arguments and not arguments.remove(flag) for flag in ("--scenes", "--cost"))
    setting = tyro.cli(type(real), default=scenes if on_scenes else real, description=doc, args=arguments)
    if only_cost:
        cost.show(setting.models, setting.limit or setting.n_images, setting.batch)
        return {}
    # Read before hours of work, not after.
    paper = json.loads(setting.paper.read_text()).get(script, {}) if setting.paper else {}
    found = {}
    for model in setting.models:
        out = setting.out / script / _slug(model)
        out.mkdir(parents=True, exist_ok=True)
        found[model] = measure(setting, model, out)
    results = {"script": script, "setting": asdict(setting), "values": found}
    path = setting.out / script / "results.json"
    path.write_text(json.dumps(results, indent=1, default=str) + "\n")
    for model, values in found.items():
        if values or model in paper:
            show(f"{script}, {model}", values, paper.get(model, {}))
    say(f"{script}: results and figures are in {setting.out / script}")
    return found


def show(title: str, ours: Values, paper: Mapping[str, float]) -> None:
    """Ours beside the paper's; names that only the paper has are shown too, for they are likely misspelt."""
    rows = {}
    for name in [*ours, *(name for name in paper if name not in ours)]:
        here, there = ours.get(name), paper.get(name)
        apart = "" if here is None or there is None else f"{here - there:+.2f}"
        rows[name] = ("" if here is None else f"{here:.2f}", "" if there is None else f"{there:.2f}", apart)
    print_numbers(title, rows, ("", "ours", "paper's" if paper else "paper's (give --paper)", "apart"))


def passed(setting: Setting, model: str, split: str | None = None) -> Run:
    """The model's pass over the data, with moments and a bank; made once, for all scripts."""
    split = split or setting.split
    name = "_".join(map(str, filter(None, (_slug(model), _slug(setting.data), split, setting.limit))))
    folder = setting.out / "runs" / name
    source = open_data(setting.data, split=split, limit=setting.limit)
    return run_pass(jaxclip.load(model), source, folder, PassOptions(batch=setting.batch, bank=True))


def task(setting: Setting, run: Run) -> tuple[Clip, Classes, Any]:
    """The run's model, the classification of its images, and the class embeddings."""
    clip, classes = run_model(run), run_classes(run, setting.label, setting.classes, setting.templates)
    return clip, classes, class_embeddings(clip, classes.prompts)


def ablated(setting: Setting, run: Run, names: Mapping[str, str]) -> Values:
    """Per cent classified correctly under sets of `jaxclip.analyses.ablation_sweeps.ablation_sets`, by names of one's
    own."""
    _, classes, embeddings = task(setting, run)
    vision, rows = run.config.vision, classes.rows
    sets = ablation_sets(vision.n_layers, vision.n_heads, n_late=setting.late)
    stack = Ablation.stack([sets[name] for name in names.values()])
    right = sweep(run, rows, run.means(), embeddings, classes.labels[rows], stack)
    return {name: 100 * float(one.mean()) for name, one in zip(names, right, strict=True)}


def curves(
    lines: Mapping[str, Sequence[float]], x: Sequence[int], words: str, levels: Mapping[str, float] | None = None
) -> Figure:
    """Accuracies in per cent over a number, one line a name; dotted levels to compare with."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    colours = matplotlib.color_sequences["tab10"]
    for colour, (name, values) in zip(colours, lines.items(), strict=False):
        axis.plot(x[: len(values)], values, ".-", color=colour, label=name)
    for name, value in (levels or {}).items():
        axis.axhline(value, color="gray", linestyle=":", linewidth=1)
        axis.annotate(name, (x[0], value), fontsize=7, color="gray", va="bottom")
    axis.set(xlabel=words, ylabel="zero-shot accuracy, per cent", ylim=(0, 100))
    axis.legend(fontsize=8)
    return figure


def with_scenes(real: S, **changes: Any) -> S:
    """A setting on the scenes."""
    return replace(real, **(SCENES | changes))


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name).strip("_.")
