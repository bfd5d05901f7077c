"""The scenes as a tensorflow-datasets builder: prepared and read where TensorFlow cannot be imported."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxclip.data.scenes import CLASSES, FACTORS, scene
from jaxclip.data.scenes.tfds_builder import CATEGORIES, Scenes, ScenesConfig

SMALL = {"n_train": 4, "n_validation": 2, "n_test": 8, "pixels": 32, "n_captions": 2, "seed": 5}

# TensorFlow is as if it were not installed, whether it is or not; an import of it would be an error.
WITHOUT_TENSORFLOW = """
import importlib.machinery as machinery, sys
found = machinery.PathFinder.find_spec
machinery.PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] == "tensorflow" else found(name, *rest)
from jaxclip.data.scenes.tfds_builder import Scenes
builder = Scenes(data_dir=sys.argv[1], config="tiny")
builder.download_and_prepare()
source = builder.as_data_source("test")
print("read", len(source), source[3]["image"].shape, source[3]["captions"])
assert not [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    builder = Scenes(data_dir=tmp_path_factory.mktemp("data"), config=ScenesConfig(name="small", **SMALL))
    builder.download_and_prepare()
    return builder


def test_it_is_prepared_and_read_without_tensorflow(tmp_path):
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TENSORFLOW, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert done.returncode == 0, done.stderr
    expected = [text.encode() for text in scene(0, "test", 3, size=48, n_captions=2)["captions"]]
    assert f"read 40 (48, 48, 3) {expected}" in done.stdout


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_record_i_is_scene_i(built, split):
    source = built.as_data_source(split)
    assert len(source) == SMALL[f"n_{split}"]
    for index in range(len(source)):
        record, drawn = source[index], scene(5, split, index, size=32, n_captions=2)
        assert record["index"] == index
        np.testing.assert_array_equal(record["image"], drawn["image"])
        for name in ("mask", "instances"):
            np.testing.assert_array_equal(record[name][..., 0], drawn[name])
        assert [text.decode() for text in record["captions"]] == drawn["captions"]
        assert {name: record[name] for name in FACTORS} == drawn["labels"]
        assert list(record["copies"]["instance"]) == [placement.instance for placement in drawn["placements"]]
        assert list(record["copies"]["x"]) == [np.float32(placement.x) for placement in drawn["placements"]]


def test_every_factor_is_recorded_in_words(built):
    """The groups of objects, spelt out by the features' own names, are the record of the scene."""
    features = built.info.features
    assert features["mask"].names == list(CLASSES)
    for index, record in enumerate(built.as_data_source("test")):
        spec = scene(5, "test", index, size=32, n_captions=1)["spec"]
        assert features["kind"].int2str(record["kind"]) == spec["kind"]
        for name in FACTORS:
            assert features[name].names == list(FACTORS[name])
        names = {"category": CATEGORIES, **{name: FACTORS[name] for name in ("colour", "texture", "size", "place")}}
        objects = record["objects"]
        for which, group in enumerate(spec["groups"]):
            for name, values in names.items():
                label = objects[name][which]
                assert (values[label] if label >= 0 else None) == group[name]
            assert objects["number"][which] == group["number"]


def test_preparing_again_writes_the_same_bytes(built, tmp_path):
    again = Scenes(data_dir=tmp_path, config=ScenesConfig(name="small", **SMALL))
    again.download_and_prepare()
    files = sorted(path.name for path in built.data_path.iterdir() if "array_record" in path.name)
    assert len(files) == 3
    for name in files:
        assert (again.data_path / name).read_bytes() == (built.data_path / name).read_bytes()


def test_a_prepared_folder_keeps_its_format(tmp_path):
    options = {"data_dir": tmp_path, "config": ScenesConfig(name="small", **SMALL)}
    Scenes(**options).download_and_prepare(file_format="parquet")
    opened = Scenes(**options)
    assert opened.info.file_format.value == "parquet"
    assert opened.as_data_source("train")[2]["index"] == 2


def test_configs_are_named_and_checked():
    assert {name: config.n_train for name, config in Scenes.builder_configs.items()} == {"default": 20_000, "tiny": 80}
    assert tfds.core.Version(Scenes.VERSION) == "1.0.0"
    with pytest.raises(ValueError, match=r"ScenesConfig.n_test must be at least 1; got 0"):
        ScenesConfig(name="none", **SMALL | {"n_test": 0})
