"""Where images come from: every layout gives each image its own label, whatever the order of the files."""

import numpy as np
import pytest
from PIL import Image

from jaxclip.config import PreprocessConfig
from jaxclip.data.open_data import open_data
from jaxclip.data.scenes import scene
from jaxclip.data.source import Source
from jaxclip.runs.loader import batches
from jaxclip.runs.order import Order

PREPROCESS = PreprocessConfig(
    size=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="bicubic", resize_mode="squash"
)


def paint(path, value):
    """A grey picture that can be told from others by its value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 12), (value, value, value)).save(path)


def labelled(source, kind="label"):
    """Name -> the name of its label."""
    examples = [source[i] for i in range(len(source))]
    return {e.name: source.label_names[kind][e.labels[kind]] if e.labels[kind] >= 0 else None for e in examples}


def test_a_folder_of_images(tmp_path):
    for name in ("b.png", "a.jpg", "c.webp"):
        paint(tmp_path / name, 9)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("left out, and said")
    source = open_data(tmp_path)
    assert isinstance(source, Source)
    assert (source.kind, [source[i].name for i in range(3)], len(source)) == ("folder", ["a.jpg", "b.png", "c.webp"], 3)
    assert source.others == {".txt": 1, "./": 1}
    assert dict(source.label_names) == {}


def test_a_folder_per_class(tmp_path):
    for name in ("dog/2.png", "cat/1.png", "dog/deep/0.png", "ant/9.png"):
        paint(tmp_path / name, 9)
    source = open_data(tmp_path)
    assert source.label_names["label"] == ("ant", "cat", "dog")
    assert labelled(source) == {"ant/9.png": "ant", "cat/1.png": "cat", "dog/2.png": "dog", "dog/deep/0.png": "dog"}


def test_splits_that_are_folders_are_asked_for(tmp_path):
    for name in ("train/dog/2.png", "val/dog/0.png", "val/cat/1.png"):
        paint(tmp_path / name, 9)
    with pytest.raises(ValueError, match="holds splits; pass one as split"):
        open_data(tmp_path)
    assert labelled(open_data(tmp_path, split="val")) == {"cat/1.png": "cat", "dog/0.png": "dog"}
    with pytest.raises(ValueError, match="no folder test; it has train, val"):
        open_data(tmp_path, split="test", kind="classes")


def test_images_beside_folders_of_images_could_be_two_things(tmp_path):
    paint(tmp_path / "a.png", 1)
    paint(tmp_path / "cat" / "b.png", 1)
    with pytest.raises(ValueError, match="kind='folder'"):
        open_data(tmp_path)
    assert (len(open_data(tmp_path, kind="folder")), len(open_data(tmp_path, kind="classes"))) == (1, 1)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_table(tmp_path, kind):
    rows = [
        ["mood", "path", "label"], ["glad", "x/b.png", "zebra"], ["sad", str(tmp_path / "a.png"), "ant"],
        ["", "c d.png", "zebra"],
    ]  # fmt: skip
    path = tmp_path / f"list.{kind}"
    path.write_text("\n".join(("," if kind == "csv" else "\t").join(row) for row in rows), encoding="utf-8-sig")
    source = open_data(path)
    assert labelled(source) == {"x/b.png": "zebra", str(tmp_path / "a.png"): "ant", "c d.png": "zebra"}
    assert list(labelled(source, "mood").values()) == ["glad", "sad", None]
    assert source[0].image == tmp_path / "x/b.png"


def test_a_text_list(tmp_path):
    (tmp_path / "take 2").touch()
    (tmp_path / "list.txt").write_text("b.png 3\n\ntake 2\nc d.png\t1\n")
    assert labelled(open_data(tmp_path / "list.txt")) == {"b.png": "3", "take 2": None, "c d.png": "1"}


def test_numbers_stay_what_they_are(tmp_path):
    (tmp_path / "list.csv").write_text("file,label\na,7\nb,2\nc,-1\n")
    source = open_data(tmp_path / "list.csv")
    assert [source[i].labels["label"] for i in range(3)] == [7, 2, -1]
    assert len(source.label_names["label"]) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,-3\n", "column label: labels must be 0 or more"),
        ("path,label\na.png\n", "row 2, has another number of columns"),
        ("name,label\na.png,1\n", "needs a header with a column of paths"),
        ("path,label\n", "names no images"),
        ("", "needs a header"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_data(tmp_path / "list.csv")


def test_waterbirds_groups(tmp_path):
    rows = ["img_id,img_filename,y,split,place,place_filename"]
    rows += [f"{i},b{i}.jpg,{i % 2},{i % 3},{i // 2 % 2},p.jpg" for i in range(12)]
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    source = open_data(tmp_path, split="test")
    expected = {2: "landbird_on_water", 5: "waterbird_on_land", 8: "landbird_on_land", 11: "waterbird_on_water"}
    assert labelled(source, "group") == {f"b{i}.jpg": group for i, group in expected.items()}
    assert [source[i].labels["group"] for i in range(4)] == [1, 2, 0, 3]
    assert (len(open_data(tmp_path)), len(open_data(tmp_path, split="all"))) == (4, 12)
    (tmp_path / "metadata.csv").write_text("img_filename,y\na.jpg,1\n")
    with pytest.raises(ValueError, match="lacks the columns place, split"):
        open_data(tmp_path)


class TestImageNet:
    IDS = ("n01440764", "n02084071", "n03000000")

    def test_a_folder_per_id(self, tmp_path):
        for number, name in enumerate(self.IDS[:2]):
            paint(tmp_path / name / f"ILSVRC2012_val_0000000{number}.JPEG", 5)
        source = open_data(tmp_path)
        assert (source.label_names["label"], source[1].labels["label"]) == (("tench", "n02084071"), 1)
        self.titles(tmp_path)
        assert open_data(tmp_path).label_names["label"] == ("tench, fish", "dog", "thing")

    def test_one_folder_with_the_solution_beside_it(self, tmp_path):
        folder = tmp_path / "Data" / "val"
        truth = {f"ILSVRC2012_val_0000000{i}": self.IDS[i % 3] for i in (5, 1, 3)}
        for name in truth:
            paint(folder / f"{name}.JPEG", 5)
        with pytest.raises(ValueError, match=r"put LOC_val_solution\.csv there"):
            open_data(folder)
        rows = [f"{name},{wordnet} 1 2 3 4 " for name, wordnet in truth.items()]
        (tmp_path / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
        self.titles(tmp_path)
        source = open_data(folder)
        assert source.kind == "imagenet"
        found = {name.removesuffix(".JPEG"): title for name, title in labelled(source).items()}
        titles = dict(zip(self.IDS, ("tench, fish", "dog", "thing"), strict=True))
        assert found == {name: titles[wordnet] for name, wordnet in truth.items()}

    def test_one_folder_with_the_development_kit(self, tmp_path):
        from scipy.io import savemat

        kit = np.array([(1, self.IDS[2]), (2, self.IDS[0]), (3, self.IDS[1])], [("ILSVRC2012_ID", "i4"), ("WNID", "O")])
        savemat(tmp_path / "meta.mat", {"synsets": kit})
        (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n3\n2\n")
        for number in (1, 2, 3):
            paint(tmp_path / "val" / f"ILSVRC2012_val_0000000{number}.JPEG", 5)
        source = open_data(tmp_path / "val")
        assert [source[i].labels["label"] for i in range(3)] == [2, 1, 0]
        assert source.label_names["label"] == ("tench", *self.IDS[1:])

    def test_classes_of_one_word_have_names_of_their_own(self, tmp_path):
        """Both cranes, whether a list of words lies nearby or not."""
        cranes = ("n02012849", "n03126707")
        for name in cranes:
            paint(tmp_path / name / "ILSVRC2012_val_00000001.JPEG", 5)
        for _ in range(2):
            assert open_data(tmp_path).label_names["label"] == ("crane bird", "construction crane")
            (tmp_path / "LOC_synset_mapping.txt").write_text("\n".join(f"{name} crane" for name in cranes))

    def titles(self, root):
        words = ("tench, fish", "dog", "thing")
        lines = [f"{name} {title}" for name, title in zip(self.IDS, words, strict=True)]
        (root / "LOC_synset_mapping.txt").write_text("\n".join(lines))


def test_scenes_are_the_scenes():
    source = open_data("scenes", split="validation", limit=5)
    drawn = scene(0, "validation", 4)
    np.testing.assert_array_equal(source[4].image, drawn["image"])
    assert source[4].labels == drawn["labels"]
    assert (len(source), len(open_data("scenes"))) == (5, 4000)
    with pytest.raises(ValueError, match="the scenes have the splits"):
        open_data("scenes", split="dev")


def test_tfds_from_a_folder(tmp_path):
    from jaxclip.data.scenes.tfds_builder import Scenes, ScenesConfig

    sizes = {"n_train": 2, "n_validation": 1, "n_test": 6}
    builder = Scenes(data_dir=tmp_path, config=ScenesConfig(name="mini", pixels=32, n_captions=1, **sizes))
    builder.download_and_prepare()
    source = open_data(tmp_path, split="test")
    assert (source.kind, len(source)) == ("tfds", 6)
    for index in range(6):
        drawn, example = scene(0, "test", index, 32), source[index]
        assert {kind: example.labels[kind] for kind in drawn["labels"]} == drawn["labels"]
        read = next(batches(open_data(tmp_path, split=f"test[{index}:]"), PREPROCESS, Order.of(1, 1))).images[0]
        direct = next(batches(Pixels(drawn["image"]), PREPROCESS, Order.of(1, 1))).images[0]
        np.testing.assert_array_equal(read, direct)
    with pytest.raises(ValueError, match="pass one of them as split"):
        open_data(tmp_path)
    with pytest.raises(ValueError, match="has no split 'dev'"):
        open_data(tmp_path, split="dev")
    assert source.fingerprint() == open_data(tmp_path, split="test").fingerprint()
    assert source.fingerprint() != open_data(tmp_path, split="train").fingerprint()


class Pixels:
    """One image as a source."""

    kind, label_names = "pixels", {}

    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return 1

    def __getitem__(self, index):
        from jaxclip.data.source import Example

        return Example("pixels", self.pixels, {})

    def fingerprint(self):
        return ""


@pytest.mark.parametrize("data", ["nowhere/at/all", "no_such_dataset_at_all"])
def test_nothing_of_that_name(data):
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
        open_data(data)


def test_an_empty_folder_and_one_image(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        open_data(tmp_path)
    paint(tmp_path / "a.png", 3)
    assert len(open_data(tmp_path)) == 1
    with pytest.raises(ValueError, match="must be a folder or a list file"):
        open_data(tmp_path / "a.png")


@pytest.mark.parametrize("change", ["content", "label", "order", "name", "missing"])
def test_a_fingerprint_knows_its_data(tmp_path, change):
    for index in range(3):
        paint(tmp_path / f"{index}.bmp", index)
    rows = ["0.bmp 0", "1.bmp 1", "2.bmp 0"]
    path = tmp_path / "list.txt"
    path.write_text("\n".join(rows))
    before = open_data(path).fingerprint()
    assert open_data(path).fingerprint() == before
    match change:
        case "content":  # of the same size
            paint(tmp_path / "1.bmp", 77)
        case "label":
            path.write_text("\n".join([*rows[:2], "2.bmp 1"]))
        case "order":
            path.write_text("\n".join(rows[::-1]))
        case "name":
            (tmp_path / "1.bmp").rename(tmp_path / "3.bmp")
            path.write_text("\n".join([rows[0], "3.bmp 1", rows[2]]))
        case "missing":
            (tmp_path / "1.bmp").unlink()
    assert open_data(path).fingerprint() != before
