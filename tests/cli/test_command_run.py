"""`jaxclip run` as its users meet it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import jaxclip
from jaxclip.cli.main import main
from jaxclip.data.scenes import scene

GOLDEN = str(Path(__file__).parents[1] / "golden")
"""A small checkpoint in OpenCLIP's format."""


def test_the_command(tmp_path, capsys):
    command = ["run", GOLDEN, "scenes", "--split", "validation", "--limit", "6", "--batch", "4", "--by", "bird"]
    command += ["background", "--bank", "--bank-dtype", "float16", "--out", str(tmp_path / "run"), "--json"]
    for _ in range(2):
        with pytest.raises(SystemExit) as exit_:
            main(command)
        shown = capsys.readouterr()
        found, lines = json.loads(shown.out), shown.err.splitlines()
        assert (exit_.value.code, found["n_images"], found["skipped"]) == (0, 6, {})
        assert (lines[0], lines[-1]) == ("6 images (scenes)", f"wrote {tmp_path / 'run'}: 6 images")
        assert len(lines) == 3 + len(found["labels"])  # no bar where there is no terminal
        (model,) = (line for line in lines if line.startswith("model "))
        assert re.search(r"ViT of \d+ layers with \d+ heads, width \d+, .*; (quick_)?gelu; (bicubic|bilinear), ", model)
        assert "label bird: 2 classes, in this order: duck, finch" in lines
    run = jaxclip.open_run(tmp_path / "run")
    drawn = [scene(0, "validation", index)["labels"] for index in range(6)]
    for kind in ("bird", "background", "group"):
        np.testing.assert_array_equal(run.labels[kind], [labels[kind] for labels in drawn])
    birds = [float(run.moments_by("bird", bird).init.count) for bird in ("duck", "finch")]
    assert birds == [sum(labels["bird"] == value for labels in drawn) for value in (0, 1)]
    assert (run.info["model"]["source"], run.info["data"]["source"]) == (str(Path(GOLDEN).absolute()), "scenes")

    for option, value, said in (
        ("--batch", "3", "options.batch was 4 and is 3"),
        ("--precision", "tensorfloat32", 'model.compute.precision was "highest" and is "tensorfloat32"'),
    ):
        with pytest.raises(SystemExit) as exit_:
            main([*command, option, value])
        assert exit_.value.code == 1
        assert said in capsys.readouterr().err


def test_what_the_model_calculates_in_is_the_commands_choice_and_in_the_run(tmp_path):
    command = ["run", GOLDEN, "scenes", "--limit", "4", "--batch", "4", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--precision", "tensorfloat32", "--dtype", "float16"])
    assert exit_.value.code == 0
    held = jaxclip.open_run(tmp_path / "run").info["model"]["compute"]
    assert (held["dtype"], held["precision"]) == ("float16", "tensorfloat32")
