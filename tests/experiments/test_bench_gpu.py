"""The GPU's benchmark says what it did not measure, and runs from end to end wherever there is a device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "bench_gpu.py"


def bench(out, *options):
    command = [sys.executable, SCRIPT, "--out", out, *options]
    subprocess.run(command, check=True, timeout=1200, stdout=subprocess.PIPE, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    return json.loads(out.read_text())


def leaves(tree):
    return [leaf for value in tree.values() for leaf in (leaves(value) if isinstance(value, dict) else [value])]


def test_what_is_not_measured_is_said_and_no_number_stands_in_its_place(tmp_path):
    for out, options, reason in (
        (tmp_path / "none.json", ["--models", "ViT-L-14"], "not measured: no GPU"),
        (tmp_path / "late.json", ["--smoke", "--minutes", "0"], "not measured: out of time"),
    ):
        (model,) = (value for value in bench(out, *options).values() if isinstance(value, dict) and "speed" in value)
        assert model.pop("flops_an_image") > 0
        parts = {"speed": 7, "sums": 3, "textspan": 1, "files": 2, "parity": 3, "open_clip": 2}
        assert {part: len(rows) for part, rows in model.items()} == parts
        assert set(leaves(model)) == {reason}


@pytest.mark.large
def test_all_of_it_runs(tmp_path):
    found = bench(tmp_path / "smoke.json", "--smoke")["tiny"]
    assert all(row["images_per_s"] > 0 for part in ("speed", "files") for row in found[part].values())
    assert max(found["sums"]["float32"].values()) < 1e-6
    assert 1e-4 < found["sums"]["bfloat16"]["embedding"] < 0.05
