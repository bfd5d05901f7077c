"""A small run of the scenes and its report, made once for all test files, below the folder pytest gives them."""

import json
from functools import cache

import numpy as np
from PIL import Image

import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.data.scenes import CHECKPOINT
from jaxclip.data.text_pools import Pool
from jaxclip.report.html.build import page, read_results
from jaxclip.report.html.packing import Pictures
from jaxclip.report.html.questions import TEXTS
from jaxclip.report.html.run_data import ReportOptions, collect
from jaxclip.runs.images import run_source
from jaxclip.runs.run_pass import PassOptions, run_pass

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><!-- \u2028 ${x} %%DATA%% &amp; 'quoted'"
OPTIONS = ReportOptions(texts=("a red circle", HOSTILE), steps=3, examples=2, images=4)
N = 24
POOL = Pool(
    "small",
    ("a red bird", "something blue", "something on grass", "the sea", HOSTILE, "two stars"),
    ("colour", "colour", "background", "background", HOSTILE, "number"),
)


@cache
def clip():
    return jaxclip.load(CHECKPOINT)


@cache
def run(base):
    options = PassOptions(batch=8, bank=True)
    return run_pass(clip(), open_data("scenes", limit=N), base / "report" / "scenes_run", options, model="scenes",
                    data="scenes")  # fmt: skip


def collected(run, pool, options, data=None):
    pictures = Pictures(run, run_source(run, data), clip().config.preprocess)
    return collect(run, clip(), pictures, pool, options, source=str(CHECKPOINT), progress=lambda *stage: None)


@cache
def report(base):
    return collected(run(base), POOL, OPTIONS)


@cache
def html(base):
    """The report with results: of a command that nobody knows, and of each that has a section of its own."""
    found = {"accuracy": 0.5, HOSTILE: [{"layer": 0, "error": float("nan")}], "grid": [[1.0, -2.0], [0.5, 0.0]]}
    folders = [write_results(base, "unknown", found)]
    folders += [write_results(base, name, found) for name, found in RESULTS.items()]
    return page([report(base)], [read_results(folder) for folder in folders])


def write_results(base, name, found):
    folder = base / "report" / name
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(found))
    Image.new("RGB", (40, 30), "red").save(folder / "figure.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def encoded(texts):
    """Unit embeddings, in a batch of the size that the report has compiled already."""
    tokens = clip().tokenize([*texts, *["padding"] * (TEXTS - len(texts))])
    return np.asarray(clip().encode_text(tokens, normalize=True), np.float64)[: len(texts)]


RESULTS = {
    "ablation": {
        "run": "scenes_run", "label": HOSTILE, "n_images": 24, "chance": 0.125, "accuracy": 0.5, "mlps_and_input": 0.25,
        "mlps_alone": 0.375, "class_attn": 0.5, "both": 0.25, "attention_layers": [0.5, 0.4],
        "heads": [[0.5, 0.125], [0.75, None]],
        "sets": [{"heads": [HOSTILE], "accuracy": 0.3}],
    },
    "debiased": {
        "run": "scenes_run", "label": "bird", "property": HOSTILE, "heads": ["3.2", HOSTILE],
        "before": {"worst_group": 0.6, "overall": 0.8, "groups": {HOSTILE: {"accuracy": 0.6, "n_images": 4}}},
        "after": {"worst_group": 0.7, "overall": 0.9, "groups": {HOSTILE: {"accuracy": 0.7, "n_images": 4}}},
        "random": {"late_layers": 4, "worst_group": {"mean": 0.5, "std": 0.1}, "groups": {HOSTILE: 0.5}},
    },
    "nearest": {
        "run": "scenes_run", "n_images": 24, "k": 2, "property": "colour", "heads": ["2.3"],
        "queries": [{"query": HOSTILE, "n_common": 1, "by_heads": [{"name": HOSTILE, "similarity": 0.9}],
                     "by_embedding": [{"name": "b", "similarity": 0.8}]}],
        "precision": {"colour": {"heads": ["2.3"], "by_heads": 0.9, "by_embedding": 0.5, "chance": 0.1}},
    },
    "masks": {
        "way": "classes", "classes": ["a", HOSTILE], "heads": "all", "n_images": 1, "images": [{"name": HOSTILE}],
        "metrics": {"pixel_accuracy": 0.5, "mean_iou": 0.25, "mean_ap": 0.75},
        "class_iou": {"background": 0.5, HOSTILE: None},
    },
    "bases": {
        "run": "elsewhere", "pool": "small", "steps": 2, "n_texts": 6, "n_images": 24,
        "heads": {"1.2": {"variance_share": 0.1, "explained": [0.5, 0.7], "texts": [HOSTILE, None]}},
    },
    "wrong": {
        "attention_layers": [HOSTILE], "heads": [HOSTILE, [HOSTILE]], "accuracy": HOSTILE, "sets": {"a": 1},
    },
}  # fmt: skip
