"""Anything may be wrong in a file that was downloaded: whatever is, it is one of this library's own errors."""

import contextlib
import json

import numpy as np
import pytest
from parity import checkpoints

from jaxclip import convert
from jaxclip.convert import CheckpointError


def leaves(value, path=()):
    """Paths to everything in a JSON value."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from leaves(item, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


ODD = ["x", "", None, True, -1, 0, 1.5, 10**9, [], {}, [1], {"a": 1}]


@pytest.mark.parametrize("name", ["open_clip_config.json", "config.json", "preprocessor_config.json"])
def test_any_value_of_the_wrong_kind_is_a_clear_error(open_clip, unchecked, tmp_path, name):
    make = checkpoints.make_openclip if name.startswith("open_clip") else checkpoints.make_hf
    make(tmp_path)
    whole = json.loads((tmp_path / name).read_text())
    for path in leaves(whole):
        for odd in ODD:
            (tmp_path / name).write_text(json.dumps(replaced(whole, path, odd)))
            with contextlib.suppress(ValueError, FileNotFoundError):
                convert.read(tmp_path)


@pytest.mark.parametrize("kind", ["safetensors", "pickle", "torchscript", "training"])
def test_any_damage_is_a_clear_error(open_clip, unchecked, tmp_path, kind):
    """Bytes changed at random where names, shapes and offsets are: nothing but this library's own errors comes out."""
    told = {}
    if kind == "torchscript":
        checkpoints.make_openai(tmp_path / "x.pt")
    elif kind == "training":
        checkpoints.make_training(tmp_path / "x.pt")
        (tmp_path / "tiny.json").write_text(json.dumps(checkpoints.CFG))
        told = {"model": str(tmp_path / "tiny.json"), "activation": "gelu", "preprocess": "openai-bicubic-shortest"}
    else:
        checkpoints.make_openclip(tmp_path, pickled=kind == "pickle")
    (path,) = [path for path in tmp_path.iterdir() if path.suffix in (".pt", ".bin", ".safetensors")]
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = np.frombuffer(whole, np.uint8).copy()
        n_near = min(6000, len(damaged))
        spots = rng.integers(0, n_near, rng.integers(1, 5))
        if kind != "safetensors":
            spots = np.where(rng.random(spots.shape) < 0.5, spots, len(damaged) - 1 - spots)
        damaged[spots] = rng.integers(0, 256, spots.shape)
        path.write_bytes(damaged.tobytes()[: rng.integers(1, len(whole)) if rng.random() < 0.1 else None])
        try:
            convert.read(path if told else tmp_path if kind != "torchscript" else path, **told)
        except CheckpointError:
            refused += 1
    assert refused > 50
