"""Folders that claim more than their files hold: no memory is taken on their word."""

import json
import math
import os
import shutil

import numpy as np
import pytest
import small
import small_pass
import tensorstore as ts
from fuzzing import alone, leaves, replaced
from parity import checkpoints
from test_convert_hostile import archive, dump, tensor
from test_fuzz_runs import JSONS, vouched

from jaxclip import convert
from jaxclip.convert import CheckpointError
from jaxclip.convert.readers.safetensors import open_safetensors
from jaxclip.files.atomic import MANIFEST, inventory, write_json


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    return convert.convert(small.export(folder / "source"), folder / "converted")


def another(folder, place):
    """The same folder again; files that stay the same are the same."""
    return shutil.copytree(folder, place, copy_function=os.link)


def rewritten(folder, name, value):
    """Another JSON file in a converted folder, vouched for by its manifest."""
    for file in (name, MANIFEST):
        (folder / file).unlink()  # not the file of which this was a second name
    write_json(folder / name, value)
    write_json(folder / MANIFEST, {"format": 2, "files": inventory(folder)})


def values(whole):
    """Everything in a JSON value with the path to it."""
    for path in leaves(whole):
        value = whole
        for key in path:
            value = value[key]
        yield path, value


def numbers(whole):
    return [path for path, value in values(whole) if type(value) in (int, float)]


def rewrite(file, **changes):
    """A JSON file with other values at dotted paths."""
    whole = json.loads(file.read_text())
    for path, value in changes.items():
        whole = replaced(whole, tuple(int(key) if key.isdecimal() else key for key in path.split(".")), value)
    file.write_text(json.dumps(whole))


def claims(folder, place, path, change, config=None):
    """A converted folder of which one parameter's own metadata says something else."""
    made = another(folder, place)
    shutil.rmtree(made / "weights")
    shutil.copytree(folder / "weights", made / "weights")
    store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{made}/weights/"}).result()
    said = json.loads(store[f"{path}/zarr.json"])
    change(said)
    store[f"{path}/zarr.json"] = json.dumps(said).encode()
    rewritten(made, "config.json", config or json.loads((folder / "config.json").read_text()))
    return made


USE = """
import numpy as np, jaxclip
def use(folder):
    clip = jaxclip.load(folder)
    clip.tokenizer(["a dog"])
    clip.preprocess([np.zeros((40, 30, 3), np.uint8)])
"""


@pytest.mark.parametrize("size", [2**33, *(pytest.param(n, marks=pytest.mark.nightly) for n in (2**20, 10**12))])
def test_any_number_in_the_description_of_a_converted_model(converted, tmp_path, size):
    whole = json.loads((converted / "config.json").read_text())
    paths = numbers(whole)
    made = [another(converted, tmp_path / str(i)) for i in range(len(paths))]
    for folder, path in zip(made, paths, strict=True):
        rewritten(folder, "config.json", replaced(whole, path, size))
    assert len(alone("use(argument)", made, imports=USE, gigabytes=6)) == len(made)


def test_weights_that_are_not_there(converted, tmp_path):
    """What is stored nowhere reads as zeros, as many of them as the metadata says; and one piece may be any size."""
    config = json.loads((converted / "config.json").read_text())
    n = 2**33 // config["text"]["width"]

    def more(said):
        said["shape"][0] = n

    def larger(said):
        for grid in (said["chunk_grid"], said["codecs"][0]):
            grid["configuration"]["chunk_shape"][0] = n

    made = [
        claims(converted, tmp_path / "more", "text.token_embedding", more, replaced(config, ("text", "vocab_size"), n)),
        claims(converted, tmp_path / "larger", "text.token_embedding", larger),
        claims(converted, tmp_path / "other", "text.token_embedding", more),
    ]
    said = alone("use(argument)", made, imports=USE, gigabytes=6)
    reasons = ["bytes and its files have ", "text.token_embedding in ", "text.token_embedding is [268435456, 32]"]
    assert [reason for reason, line in zip(reasons, said, strict=True) if reason not in line] == [], said


@pytest.fixture(scope="module", params=["open_clip", "hugging_face"])
def downloaded(request, tmp_path_factory):
    """A checkpoint's folder, and the files in it that describe it."""
    folder = tmp_path_factory.mktemp("downloaded")
    if request.param == "open_clip":
        return small.export(folder / "source"), ["open_clip_config.json"]
    pytest.importorskip("torch", reason="needs PyTorch, to write a checkpoint of transformers")
    checkpoints.make_hf(folder / "source")
    return folder / "source", ["config.json", "preprocessor_config.json"]


@pytest.mark.parametrize("size", [2**33, *(pytest.param(n, marks=pytest.mark.nightly) for n in (2**17, 10**12))])
def test_any_number_in_the_description_of_a_checkpoint(downloaded, tmp_path, size):
    source, files = downloaded
    made = []
    for file in files:
        whole = json.loads((source / file).read_text())
        for path in numbers(whole):
            made.append(another(source, tmp_path / str(len(made))))
            (made[-1] / file).unlink()
            (made[-1] / file).write_text(json.dumps(replaced(whole, path, size)))
    imports = "from jaxclip import convert\nfrom jaxclip.convert import describe"
    said = alone("describe(argument); convert.read(argument)", made, imports=imports, gigabytes=6)
    assert len(said) == len(made)


def test_images_much_larger_than_a_checkpoint_has_positions_for(tmp_path):
    """As many as its description likes would have to be made from the few that are stored."""
    source = small.export_two_layers(tmp_path / "source")
    for size, read in ((48, True), (4800, False)):
        changes = {"model_cfg.vision_cfg.image_size": size, "preprocess_cfg.size": [size, size]}
        rewrite(source / "open_clip_config.json", **changes)
        if read:
            assert convert.read(source)[0].vision.n_tokens == 1 + 6 * 6
    with pytest.raises(CheckpointError, match=r"360001 tokens, and its positions are for 5; pass image_size=4800 if"):
        convert.read(source)


def test_tensors_that_are_all_the_same_bytes(tmp_path):
    held = open_safetensors(small.export(tmp_path / "source") / "open_clip_model.safetensors")
    n = max(math.prod(one.shape) for one in held.values())

    def shared(shape):
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        return tensor(shape=tuple(shape), strides=strides, count=n)

    pickled = dump({name: shared(one.shape) for name, one in held.items()})
    (tmp_path / "source" / "open_clip_model.safetensors").unlink()
    archive(
        tmp_path / "source" / "open_clip_pytorch_model.bin", pickled, {"archive/data/0": np.ones(n, "f4").tobytes()}
    )
    with pytest.raises(CheckpointError, match="tensors share their numbers"):
        convert.read(tmp_path / "source")


READ = """
import sys, jaxclip
sys.path[:0] = ["tests/fuzz", "tests/helpers"]
from test_fuzz_runs import read_all
def read(folder):
    run = jaxclip.open_run(folder, unfinished=True)
    run.bank.read("embedding")
    read_all(folder)
"""


def recount(folder, n_batches):
    with np.load(folder / "state.npz") as held:
        arrays = dict(held) | {"n_batches": np.int64(n_batches)}
    np.savez(folder / "state.npz", **arrays)


@pytest.fixture
def run(tmp_path_factory):
    return small_pass.run(tmp_path_factory.getbasetemp()).folder


@pytest.mark.parametrize("size", [2**33, *(pytest.param(n, marks=pytest.mark.nightly) for n in (2**20, 10**12))])
def test_any_number_in_what_a_run_says_of_itself(run, tmp_path, size):
    made = []
    for file in JSONS:
        whole = json.loads((run / file).read_text())
        for path in numbers(whole):
            made.append(shutil.copytree(run, tmp_path / str(len(made))))
            (made[-1] / file).write_text(json.dumps(replaced(whole, path, size)))
            vouched(made[-1])
    assert len(alone("read(argument)", made, imports=READ, gigabytes=8)) == len(made)


@pytest.mark.parametrize(("batch", "order", "n_batches", "reason"), [
    (4, {"parts": 1, "steps": 2**30}, 2**37, "images.jsonl is damaged (it has 21 lines"),
    (2**32, {"parts": 2**32, "steps": 2**5}, 2, "lines, the run has seen 8,589,934,592"),
    (21, {"parts": 1, "steps": 2**30}, 1, "for 22548578304 of numbers)"),
])  # fmt: skip
def test_a_run_that_says_everywhere_that_it_is_of_a_trillion_images(run, tmp_path, batch, order, n_batches, reason):
    made, n = shutil.copytree(run, tmp_path / "run"), 2**39
    rewrite(made / "run.json", **{"data.n_images": n, "options.batch": batch, "order": order})
    for array in (made / "bank").rglob("zarr.json"):
        if array.parent != made / "bank":
            block = order["steps"] * batch // order["parts"]
            rewrite(array, **{"shape.0": n, "chunk_grid.configuration.chunk_shape.0": block})
    recount(made, n_batches)
    shutil.copy(made / "images.jsonl", made / "images.part.jsonl")  # which is read while a run is not finished
    vouched(made)
    (said,) = alone("read(argument)", [made], imports=READ, gigabytes=6)
    assert reason in said
