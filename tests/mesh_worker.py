"""Run by test_sharding.py on eight forced CPU devices; what it finds is written as arrays and runs.

python mesh_worker.py MODEL DATA OUT
"""

import sys
from pathlib import Path

import jax
import numpy as np

import jaxclip
from jaxclip.data.sources import open_data
from jaxclip.passes import PassOptions, run_pass
from jaxclip.sharding import make_mesh, place_batch, place_vision

DETAILS = ("full", "head", "token", "layer")
MESHES = {"data": (8, 1), "both": (2, 4)}
PLAIN = PassOptions(batch=8, bank=True)
BY = PassOptions(batch=8, by=("label",))


def images(config):
    return np.random.default_rng(0).standard_normal((8, *config.image_size, 3)).astype(np.float32)


def decompositions(vision, inputs):
    return vision.embed(inputs), {detail: vision(inputs, detail=detail)[1] for detail in DETAILS}


class Stopped(Exception):
    """An interruption between two steps."""


def stop(done, total):
    """In the second step, when the first one is saved."""
    if done > PLAIN.batch:
        raise Stopped


def main(model, data, out):
    clip, source, out = jaxclip.load(model), open_data(data), Path(out)
    assert len(jax.devices()) == 8
    arrays = {}
    for name, shape in MESHES.items():
        mesh = make_mesh(*shape)
        vision, inputs = place_vision(clip.vision, mesh), place_batch(images(clip.config.vision), mesh)
        embedding, parts = jax.jit(decompositions)(vision, inputs)
        arrays[f"{name}/embedding"] = embedding
        arrays[f"{name}/shard"] = np.array(parts["full"].attn.addressable_shards[0].data.shape)
        for detail, terms in parts.items():
            arrays |= {f"{name}/{detail}/{term}": getattr(terms, term) for term in ("init", "attn", "mlp")}
    np.savez(out / "details.npz", **{name: np.asarray(array) for name, array in arrays.items()})

    run_pass(clip, source, out / "data", PLAIN)  # by default every device has its part of the batch
    try:
        run_pass(clip, source, out / "both", BY, mesh=make_mesh(*MESHES["both"]), save_every=0, progress=stop)
    except Stopped:
        return
    raise AssertionError("the second pass was not interrupted")


if __name__ == "__main__":
    main(*sys.argv[1:])
