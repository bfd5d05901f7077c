"""Layouts that data sets come in: each is read with its own labels, or refused in a sentence that leads on."""

import os
import pickle

import pytest
from test_sources import labelled, paint

from jaxclip.data.found import described
from jaxclip.data.open_data import open_data

IDS = ("n01440764", "n01443537", "n01484850")


def test_what_systems_leave_is_neither_class_nor_picture(tmp_path):
    paint(tmp_path / "cat" / "a.png", 1)
    paint(tmp_path / "dog" / "a.png", 1)
    left = ("__MACOSX", "lost+found", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", ".Trashes",
            "Thumbnails", "@__thumb", "#snapshot")  # fmt: skip
    for name in left:
        paint(tmp_path / name / "b.png", 2)
        paint(tmp_path / "cat" / name / "b.png", 2)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._a.png"):
        (tmp_path / "cat" / name).touch()
        (tmp_path / name).touch()
    source = open_data(tmp_path)
    assert labelled(source) == {"cat/a.png": "cat", "dog/a.png": "dog"}
    # The pictures in folders are told, for somebody may have chosen such a name.
    assert source.others == {f"{name}/": 2 for name in left}


def test_nothing_vanishes(tmp_path):
    paint(tmp_path / "real" / "a.png", 1)
    for name in ("cat/a.png", "dog/deep/a.png"):
        paint(tmp_path / "d" / name, 1)
    (tmp_path / "d" / "bird").mkdir()
    for name in ("d/cat/b.xyz", "d/dog/deep/c.XYZ", "d/readme.md", "d/cat/plain"):
        (tmp_path / name).touch()
    (tmp_path / "d" / "dog" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "d" / "dog" / "loop").symlink_to(tmp_path / "d" / "dog")
    source = open_data(tmp_path / "d")
    assert set(labelled(source)) == {"cat/a.png", "dog/deep/a.png", "dog/link/a.png"}
    lines = described(source)
    assert "4 files of other kinds skipped: .xyz, " in "\n".join(lines)
    assert "no suffix" in "\n".join(lines)
    assert any("bird" in line for line in lines if line.startswith("left out"))
    paint(tmp_path / "d" / "stray.png", 3)
    assert "left out: 1 image beside the folders" in described(open_data(tmp_path / "d", kind="classes"))
    assert "left out: 3 folders beside the images" in described(open_data(tmp_path / "d", kind="folder"))
    whole = open_data(tmp_path / "d", kind="tree")
    assert (len(whole), whole.label_names, whole.kind) == (4, {}, "tree")


@pytest.mark.parametrize("made", [("a.png", "cat/b.png"), ("train/x/a.png", "test/x/b.png"), ("images/a.png",)])
def test_refusals_lead_to_the_tree(tmp_path, made):
    for name in made:
        paint(tmp_path / name, 1)
    with pytest.raises(ValueError, match="kind='tree'"):
        open_data(tmp_path)
    assert len(open_data(tmp_path, kind="tree")) == len(made)


@pytest.mark.parametrize(
    ("name", "lead"),
    [("a.heic", "HEIC"), ("a.parquet", "Hugging Face"), ("a.tar", "unpack"), ("a.tfrecord", "tfds"), ("a.doc", ".doc")],
)
def test_a_folder_without_images_says_what_there_is(tmp_path, name, lead):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).touch()
    if name == "a.heic" and open_or_none(tmp_path):
        pytest.skip("HEIC is read here")
    with pytest.raises(ValueError, match=f"holds no images, but 1 file of other kinds .*{lead}"):
        open_data(tmp_path)


def open_or_none(path):
    try:
        return open_data(path, kind="tree")
    except ValueError:
        return None


def test_class_folders_whose_names_are_no_utf8(tmp_path):
    paint(tmp_path / "cat" / "a.png", 1)
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    os.link(tmp_path / "cat" / "a.png", folder + b"/a.png")
    source = open_data(tmp_path)
    assert labelled(source) == {"caf\\xe9/a.png": "caf\\xe9", "cat/a.png": "cat"}
    assert source[0].image.read_bytes() == source[1].image.read_bytes()
    assert len(open_data(f"{tmp_path}/caf\\xe9")) == 1


class TestImageNet:
    @pytest.fixture
    def kaggle(self, tmp_path):
        val = tmp_path / "top" / "ILSVRC" / "Data" / "CLS-LOC" / "val"
        for i in range(1, 5):
            paint(val / f"ILSVRC2012_val_{i:08d}.JPEG", 5)
        rows = [f"ILSVRC2012_val_{i:08d},{IDS[i % 3]} 1 2 3 4 " for i in range(1, 5)]
        (tmp_path / "top" / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
        titles = [f"{one} {word}" for one, word in zip(IDS, ("tench, fish", "goldfish", "shark"), strict=True)]
        (tmp_path / "top" / "LOC_synset_mapping.txt").write_text("\n".join(titles))
        return tmp_path / "top"

    @pytest.mark.parametrize("where", ["", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC", "ILSVRC/Data/CLS-LOC/val"])
    def test_kaggles_layout_from_every_folder(self, kaggle, where):
        source = open_data(kaggle / where)
        assert source.label_names["label"] == ("tench, fish", "goldfish", "shark")
        assert [source[i].labels["label"] for i in range(4)] == [1, 2, 0, 1]
        assert source.kind == "imagenet"

    def test_kaggles_splits(self, kaggle):
        splits = kaggle / "ILSVRC" / "Data" / "CLS-LOC"
        paint(splits / "train" / IDS[1] / "a.JPEG", 1)
        paint(splits / "test" / "ILSVRC2012_test_00000001.JPEG", 1)
        with pytest.raises(ValueError, match="ImageNet with the splits test, train, val"):
            open_data(kaggle)
        assert labelled(open_data(kaggle, split="train")) == {f"{IDS[1]}/a.JPEG": "goldfish"}
        assert (len(open_data(kaggle, split="val")), open_data(kaggle, split="test").label_names) == (4, {})
        train = open_data(kaggle, split="train")
        assert labelled(open_data(kaggle, kind=train.kind, split="train")) == labelled(train)

    def test_tiny_imagenet(self, tmp_path):
        for i in range(4):
            paint(tmp_path / "val" / "images" / f"val_{i}.JPEG", i)
        paint(tmp_path / "train" / IDS[0] / "images" / "a.JPEG", 1)
        paint(tmp_path / "test" / "images" / "test_0.JPEG", 1)
        rows = [f"val_{i}.JPEG\t{IDS[1 + i % 2]}\t0\t0\t62\t62" for i in range(4)]
        (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
        alone = open_data(tmp_path / "val")
        assert list(labelled(alone).values()) == ["goldfish", "great white shark"] * 2
        (tmp_path / "wnids.txt").write_text("\n".join(IDS[::-1]))
        (tmp_path / "words.txt").write_text(f"n00000001\tentity\n{IDS[1]}\tgoldfish, Carassius\n{IDS[0]}\ttench\n")
        (tmp_path / "train" / IDS[2]).mkdir()
        (tmp_path / "train" / IDS[1]).mkdir()
        val, train = open_data(tmp_path, split="val"), open_data(tmp_path, split="train")
        assert val.label_names == train.label_names == {"label": ("tench", "goldfish, Carassius", IDS[2])}
        assert [val[i].labels["label"] for i in range(4)] == [1, 2, 1, 2]
        assert not val.others
        with pytest.raises(ValueError, match="one class is no classification"):
            open_data(tmp_path, split="test")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,label\n0.png,cat\nsub/1.png,dog\n"),
        ("metadata.csv", "label;file_name\ncat;0.png\ndog;sub/1.png\n"),
        (
            "metadata.jsonl",
            '{"file_name":"0.png","label":"cat","boxes":[1]}\n{"file_name":"sub/1.png","label":"dog"}\n',
        ),
    ],
)
def test_hugging_faces_imagefolder(tmp_path, name, text):
    for one in ("0.png", "sub/1.png", "unnamed.png"):
        paint(tmp_path / "train" / one, 1)
    (tmp_path / "train" / name).write_text(text)
    for source in (open_data(tmp_path / "train"), open_data(tmp_path, split="train")):
        assert labelled(source) == {"0.png": "cat", "sub/1.png": "dog"}
        assert source.kind == "imagefolder"
        assert f"left out: 1 image that {name} does not name" in described(source)
        assert not source.others


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "path;label\na.png;1,0\nb.png;2,0\n"),
        ("l.csv", '"sep=;"\nPath;Label\na.png;1\nb.png;2\n'),
        ("l.csv", ",File Name,label\n0,a.png,1.0\n1,b.png,2.0\n"),
        ("l.csv", "path|label\na.png|1\nb.png|2\n"),
        ("l.csv", "path\tlabel\na.png\t1\nb.png\t2\n"),
        ("l.txt", "path,label\na.png,1\nb.png,2\n"),
        ("l.txt", "a.png,1\nb.png,2\n"),
        ("l.txt", "a.png 1.0\nb.png 2.0\n"),
        ("l.txt", "a.png; 1\nb.png; 2\n"),
    ],
)
def test_tables_as_programs_write_them(tmp_path, name, text):
    for one in ("a.png", "b.png"):
        paint(tmp_path / one, 1)
    (tmp_path / name).write_text(text)
    source = open_data(tmp_path / name)
    kinds = list(source.label_names)
    assert [kind.lower() for kind in kinds] == ["label"]
    assert [(source[i].name, source[i].labels[kinds[0]]) for i in range(2)] == [("a.png", 1), ("b.png", 2)]


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("folder", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize("names", [("batches.meta", "data_batch_1", "test_batch"), ("meta", "train", "test")])
def test_pickles_are_not_run(tmp_path, monkeypatch, folder, names):
    monkeypatch.chdir(tmp_path)
    for name in names:
        (tmp_path / "d" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / folder / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"Python version, made of pickles.*binary version"):
        open_data(tmp_path / "d")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("files", [("dataset_info.json", "state.json"), ("dataset_dict.json",)])
def test_what_save_to_disk_wrote_leads_on(tmp_path, files):
    for name in (*files, "data-00000-of-00001.arrow"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=r"save_to_disk of Hugging Face's datasets.*metadata\.csv"):
        open_data(tmp_path)
