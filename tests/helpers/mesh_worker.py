"""Run by test_sharding.py on eight forced CPU devices; what it finds is written as arrays and runs.

python mesh_worker.py MODEL DATA OUT
"""

import sys
from pathlib import Path

import jax
import numpy as np

import jaxclip
from jaxclip.analyses.ablation import Ablation
from jaxclip.analyses.ablation_sweeps import ablation_sets, sweep, sweep_completeness
from jaxclip.analyses.debias import sets_by_group
from jaxclip.analyses.retrieval import nearest
from jaxclip.analyses.segmentation.masks import label_pixels, segment
from jaxclip.analyses.textspan import head_bases
from jaxclip.data.open_data import open_data
from jaxclip.devices.sharding import make_mesh, place_batch, place_vision
from jaxclip.model.text_maps import text_maps
from jaxclip.runs.run_pass import PassOptions, run_pass

DETAILS = ("full", "head", "token", "layer")
MESHES = {"data": (8, 1), "both": (2, 4)}
SHARED = PassOptions(batch=8, bank=True, by=("label",))
BY = PassOptions(batch=8, by=("label",))


def images(config):
    return np.random.default_rng(0).standard_normal((8, *config.image_size, 3)).astype(np.float32)


def decompositions(vision, inputs):
    return vision.embed(inputs), {detail: vision(inputs, detail=detail)[1] for detail in DETAILS}


def analyses(run, clip, mesh=None):
    """What every analysis finds on a mesh; by default on all devices."""
    rng, config = np.random.default_rng(3), run.config.vision
    texts = rng.standard_normal((40, config.embed_dim)).astype(np.float32)
    classes, labels = texts[:3], run.labels["label"]
    rows, means = run.labelled("label"), run.means()
    sets = Ablation.stack(list(ablation_sets(config.n_layers, config.n_heads, n_late=1).values()))
    devices = None if mesh is None else list(mesh.devices.flat)
    spans = head_bases(run.moments.heads, texts, steps=4, devices=devices)
    inputs = run, rows, means
    sweeps = {"batch": 7, "mesh": mesh}
    late = jax.tree.map(lambda x: x[-1:], spans)
    embeddings = run.bank.read("embedding")
    near = nearest(embeddings[:5], embeddings, 6, exclude=np.arange(5), mesh=mesh)
    heads = [[], [(0, 1)], [(1, 0), (1, 2)]]
    counts = sets_by_group(*inputs, classes, "label", "label", heads)
    found = {
        "ablations": sweep(*inputs, classes, labels[rows], sets, **sweeps),
        "completeness": sweep_completeness(*inputs, late, classes, labels[rows], sets, **sweeps),
        "debias": counts.correct, "picks": spans.indices, "explained": spans.explained, "neighbours": near.indices,
        "similarity": near.similarity,
    }  # fmt: skip
    vision, pictures = clip.vision, images(config)
    if mesh is not None:
        vision, pictures = place_vision(vision, mesh), place_batch(pictures, mesh)
    for each in (False, True):
        found["scores"], found[f"maps each={each}"] = text_maps(vision, pictures, texts[:5], each=each)
    for name, made in {
        "foreground": segment(vision, pictures, texts[:5]),
        "labelled": label_pixels(vision, pictures, texts[:5]),
    }.items():
        found[f"{name} labels"], found[f"{name} scores"] = made.labels, made.scores
    return {name: np.asarray(values) for name, values in found.items()}


class Stopped(Exception):
    """An interruption between two steps."""


def stop(done, total):
    """In the second step, when the first one is saved."""
    if done > SHARED.batch:
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

    run = run_pass(clip, source, out / "data", SHARED)  # by default every device has its part of the batch
    for name, shape in MESHES.items():
        np.savez(out / f"analyses_{name}.npz", **analyses(run, clip, make_mesh(*shape)))
    try:
        run_pass(clip, source, out / "both", BY, mesh=make_mesh(*MESHES["both"]), save_every=0, progress=stop)
    except Stopped:
        return
    raise AssertionError("the second pass was not interrupted")


if __name__ == "__main__":
    main(*sys.argv[1:])
