"""A small pass over pictures of which two cannot be read, made once for all test files, below pytest's own folder."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import towers
from PIL import Image

from jaxclip.clip import Clip
from jaxclip.config import ClipConfig, PreprocessConfig
from jaxclip.data.open_data import open_data
from jaxclip.runs.run_pass import PassOptions, run_pass
from jaxclip.tokenizer import MissingTokenizer

BATCH = 4
EVERYTHING = PassOptions(batch=BATCH, by=("label", "group"), bank=True)
PREPROCESS = PreprocessConfig(
    size=(48, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), interpolation="bicubic", resize_mode="squash"
)


@cache
def clip(seed=0):
    vision = towers.vision(seed)
    config = ClipConfig(name="small", vision=vision.config, text=None, preprocess=PREPROCESS)
    return Clip(vision, None, jnp.float32(1), None, config, MissingTokenizer("none"))


@cache
def pictures(base):
    """A list of 21 in an order of their own; numbers 3 and 11 of it cannot be read, and number 5 has no label."""
    path, rng = base / "small_pass" / "data", np.random.default_rng(0)
    path.mkdir(parents=True)
    order, rows = rng.permutation(21), ["path,label,group"]
    for place, number in enumerate(order):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(path / f"{number}.png")
        rows.append(f"{number}.png,{'' if place == 5 else number % 3},{'ab'[number % 2]}")
    (path / f"{order[3]}.png").write_bytes(b"broken")
    (path / f"{order[11]}.png").unlink()
    (path / "list.csv").write_text("\n".join(rows))
    return path / "list.csv"


@cache
def run(base):
    """A pass that nothing disturbed."""
    return run_pass(clip(), open_data(pictures(base)), base / "small_pass" / "run", EVERYTHING)


def contents(folder):
    """Every file of a run that says something about images, byte for byte."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.name != "run.json"}


def assert_same(folder, other):
    ours, theirs = contents(folder), contents(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
