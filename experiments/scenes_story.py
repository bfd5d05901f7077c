"""Worst-group accuracy, retrieval and heads' names on the scenes, in one go.

    python experiments/scenes_story.py --out scenes_story

Runs the model over held-out scenes (test, and validation for the means), then `jaxclip debias` for the birds'
background, `jaxclip retrieve` with precision@10 for each factor, and experiments/labels.py. Prints the tables and
writes scenes_story.json with the numbers beside everything that the commands write.
"""

import argparse
import json
import time
from pathlib import Path

import labels
from commands import command

import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.data.scenes import PROMPTS
from jaxclip.runs.run import Run
from jaxclip.runs.run_pass import PassOptions, run_pass


def passes(model: str, out: Path, n_test: int, n_validation: int) -> tuple[Run, Run]:
    """Run the model over both splits; runs that are there already are only opened."""
    clip, options = jaxclip.load(model), PassOptions(bank=True)
    test, validation = (
        run_pass(clip, open_data("scenes", split=split, limit=n), out / split, options)
        for split, n in (("test", n_test), ("validation", n_validation))
    )
    return test, validation


def debias(test: Path, validation: Path, out: Path, late: int) -> dict:
    """Take numbers of `jaxclip debias`, heads and random ones taken from so many last layers."""
    found = command(
        "debias", test, out=out / f"debias_{late}", property="background", label="bird", means_from=validation,
        late=late,
    )  # fmt: skip
    numbers = {what: found["random"][what] for what in ("overall", "worst_group")}
    return {"late_layers": late, "heads": found["heads"], "n_images": found["n_images"], "before": found["before"],
            "after": found["after"], "random": numbers, "curve": found["curve"]}  # fmt: skip


def story(model: str, out: Path, n_test: int, n_validation: int) -> dict:
    started = time.monotonic()
    run, validation = passes(model, out, n_test, n_validation)
    late = sorted({min(4, run.config.vision.n_layers), run.config.vision.n_layers})
    result = {"model": run.info["model"], "n_test": n_test, "n_validation": n_validation}
    result["model"] = {name: result["model"][name] for name in ("name", "hash")}
    result["debias"] = [debias(run.folder, validation.folder, out, n) for n in late]
    result["precision_at_10"] = command("retrieve", run.folder, out=out / "retrieve", precision=tuple(PROMPTS))[
        "precision"
    ]
    named = labels.measure(run)
    labels.write(named, out)
    labels.show(named)
    result["labels"] = {name: named[name] for name in ("agreement", "chance", "n_texts")}
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--out", type=Path, default=Path("scenes_story"))
    parser.add_argument("--n-test", type=int, default=1200)
    parser.add_argument("--n-validation", type=int, default=600)
    args = parser.parse_args()
    found = story(args.model, args.out, args.n_test, args.n_validation)
    (args.out / "scenes_story.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
