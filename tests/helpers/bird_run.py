"""Runs over scenes that hold every bird group, made once for all test files, below the folder pytest gives them."""

from functools import cache

from command import scenes_run

import jaxclip
from jaxclip.data.scenes import CHECKPOINT, prompts
from jaxclip.data.text_pools import read_pool
from jaxclip.zeroshot import class_embeddings, text_embeddings

BACKGROUND = ["at night", "on grass", "on water", "in the snow", "on a brick wall", "at sunset", "on sand"]
OTHERS = ["something red", "something blue", "a green thing", "one object", "five objects", "a large object",
          "something on the left", "a circle", "a striped shape", "a duck", "on sand"]  # fmt: skip
HELD = 0.5


@cache
def scenes(base):
    """80 scenes of the test split, five birds a group."""
    return scenes_run(base / "birds" / "run", "--bank", limit=80)


@cache
def held_out(base):
    """20 scenes of the validation split."""
    return scenes_run(base / "birds" / "held_out", "--bank", "--split", "validation", limit=20)


@cache
def texts(base):
    """A file of texts about backgrounds, a pool with other texts, and both as unit embeddings."""
    folder = base / "birds" / "texts"
    folder.mkdir(parents=True)
    (folder / "background.txt").write_text("\n".join(BACKGROUND))
    (folder / "pool.txt").write_text("\n".join(OTHERS))
    clip = jaxclip.load(CHECKPOINT)
    names = (folder / "background.txt", folder / "pool.txt")
    return *names, *(text_embeddings(clip, read_pool(name).texts) for name in names)


@cache
def bird_classes():
    return class_embeddings(jaxclip.load(CHECKPOINT), prompts("bird"))
