"""CUB and CIFAR in their own layouts: every image gets its own label, however files and lines are ordered."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxclip.config import PreprocessConfig
from jaxclip.data.class_names import class_words
from jaxclip.data.open_data import open_data
from jaxclip.data.source import Source
from jaxclip.runs.loader import batches
from jaxclip.runs.order import Order

PREPROCESS = PreprocessConfig(
    size=(32, 32), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="bicubic", resize_mode="squash"
)


class TestCub:
    BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "010.Red_winged_Blackbird")

    @pytest.fixture
    def root(self, tmp_path):
        """Ids, classes and splits of five images, every list in an order of its own."""
        rows = {"7": (0, 1), "2": (2, 0), "11": (1, 0), "4": (0, 0), "5": (2, 1)}
        lists = {
            "images.txt": [f"{i} {self.BIRDS[c]}/{i} a.jpg" for i, (c, _) in rows.items()],
            "image_class_labels.txt": [f"{i} {c + 1}" for i, (c, _) in sorted(rows.items())],
            "classes.txt": [f"{place + 1} {name}" for place, name in enumerate(self.BIRDS)],
            "train_test_split.txt": [f"{i} {train}" for i, (_, train) in reversed(rows.items())],
        }
        for name, lines in lists.items():
            (tmp_path / name).write_text("\n".join(lines) + "\n")
        for i, (c, _) in rows.items():
            (tmp_path / "images" / self.BIRDS[c]).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (int(i),) * 3).save(tmp_path / "images" / self.BIRDS[c] / f"{i} a.jpg")
        return tmp_path

    def test_labels_go_by_id(self, root):
        source = open_data(root)
        assert isinstance(source, Source)
        assert (source.kind, len(source)) == ("cub", 3)
        assert source.label_names["label"] == ("Black footed Albatross", "Laysan Albatross", "Red winged Blackbird")
        found = {source[i].name: source[i].labels for i in range(len(source))}
        assert found == {
            f"images/{self.BIRDS[2]}/2 a.jpg": {"label": 2, "split": 1},
            f"images/{self.BIRDS[1]}/11 a.jpg": {"label": 1, "split": 1},
            f"images/{self.BIRDS[0]}/4 a.jpg": {"label": 0, "split": 1},
        }
        assert (len(open_data(root, split="train")), len(open_data(root, split="all"))) == (2, 5)
        assert next(batches(source, PREPROCESS, Order.of(3, 3))).weights.tolist() == [1, 1, 1]

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("image_class_labels.txt", "7 1\n", "no line for image"),
            ("classes.txt", "1 a\n", "has no class"),
            ("train_test_split.txt", "7 2\n2 1\n11 0\n4 0\n5 1\n", "must hold 0 or 1"),
            ("images.txt", "7\n", "an id and a value"),
            ("images.txt", "7 a\n7 b\n", "an id twice"),
        ],
    )
    def test_damage_is_named(self, root, name, text, message):
        (root / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            open_data(root)

    def test_what_is_missing_is_named(self, root):
        with pytest.raises(ValueError, match="CUB has the splits"):
            open_data(root, split="dev")
        (root / "classes.txt").unlink()
        with pytest.raises(FileNotFoundError, match=r"classes\.txt is missing"):
            open_data(root, kind="cub")


def records(n, n_labels, most, seed=0):
    """Labels [n, n_labels], pictures [n, 32, 32, 3] and the bytes of a CIFAR file that holds both."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, most, (n, n_labels)).astype(np.uint8)
    pictures = rng.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)
    planes = np.stack([pictures[..., colour] for colour in range(3)], 1).reshape(n, -1)
    return labels, pictures, np.concatenate([labels, planes], 1).tobytes()


class TestCifar:
    def test_ten_classes_in_five_files(self, tmp_path):
        parts = [records(3, 1, 10, seed) for seed in range(6)]
        for number, part in enumerate(parts[:5], 1):
            (tmp_path / f"data_batch_{number}.bin").write_bytes(part[2])
        (tmp_path / "test_batch.bin").write_bytes(parts[5][2])
        train, test = open_data(tmp_path, split="train"), open_data(tmp_path)
        assert (test.kind, len(train), len(test)) == ("cifar", 15, 3)
        for index in range(15):
            labels, pictures, _ = parts[index // 3]
            assert train[index].labels == {"label": int(labels[index % 3, 0])}
            np.testing.assert_array_equal(train[index].image, pictures[index % 3])
        read = next(batches(test, PREPROCESS, Order.of(3, 3))).images
        np.testing.assert_allclose(read, parts[5][1] / 255, atol=1e-6)
        assert train.fingerprint() != test.fingerprint()
        with pytest.raises(IndexError):
            test[3]

    def test_a_hundred_classes_with_their_own_list_of_names(self, tmp_path):
        labels, _, data = records(4, 2, 20)
        (tmp_path / "test.bin").write_bytes(data)
        own = list(class_words("cifar100"))[::-1]
        (tmp_path / "fine_label_names.txt").write_text("\n".join(own) + "\n\n")
        source = open_data(tmp_path, split="test")
        assert source.label_names["label"] == tuple(own)
        assert source.label_names["coarse"] == tuple(class_words("cifar100_coarse"))
        assert [source[i].labels for i in range(4)] == [{"coarse": int(c), "label": int(f)} for c, f in labels]

    def test_damage_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="folder of the binary version"):
            open_data(tmp_path, kind="cifar")
        _, _, data = records(2, 1, 10)
        (tmp_path / "test_batch.bin").write_bytes(data[:-1])
        with pytest.raises(ValueError, match="records of 3073 bytes; it has 6145"):
            open_data(tmp_path)
        (tmp_path / "test_batch.bin").write_bytes(b"\x0b" + data[1:])
        with pytest.raises(ValueError, match="label must be below 10; got 11"):
            open_data(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"data_batch_1\.bin is missing"):
            open_data(tmp_path, split="train")
        with pytest.raises(ValueError, match="has the splits train, test"):
            open_data(tmp_path, split="dev")
        (tmp_path / "test_batch.bin").write_bytes(data)
        (tmp_path / "batches.meta.txt").write_text("cat\ndog\n")
        with pytest.raises(ValueError, match="10 classes of cifar10; got 2"):
            open_data(tmp_path)


def png(picture):
    """A file of it; tfds would need TensorFlow to encode an array."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("kind", "most"), [("cifar10", {"label": 10}), ("cifar100", {"coarse_label": 20, "label": 100})]
)
def test_cifar_as_tfds_prepares_it(tmp_path, kind, most):
    """tfds's own CIFAR, prepared from a few made-up pictures, then read without TensorFlow."""
    tfds = pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.image_classification import cifar

    _, pictures, _ = records(4, 1, 10)
    rng = np.random.default_rng(1)
    labels = {name: rng.integers(0, n, 4) for name, n in most.items()}
    words = {"cifar10": {"label": "cifar10"}, "cifar100": {"label": "cifar100", "coarse_label": "cifar100_coarse"}}[
        kind
    ]
    base = {"cifar10": cifar.Cifar10, "cifar100": cifar.Cifar100}[kind]

    class Few(base, skip_registration=True):
        name = kind

        def _info(self):
            info = super()._info()
            for feature, data in words.items():
                info.features[feature].names = list(class_words(data))
            return info

        def _split_generators(self, dl_manager):
            return {"test": self._generate_examples()}

        def _generate_examples(self):
            for index in range(4):
                id_ = f"test_{index}"
                truth = {name: int(values[index]) for name, values in labels.items()}
                yield id_, {"id": id_, "image": png(pictures[index])} | truth

    Few(data_dir=tmp_path, file_format=tfds.core.FileFormat.ARRAY_RECORD).download_and_prepare()
    source = open_data(tmp_path / kind)
    assert source.label_names == {feature: tuple(class_words(data)) for feature, data in words.items()}
    names = [source[i].name for i in range(4)]
    assert sorted(names) == [f"test_{i}" for i in range(4)]
    read = next(batches(source, PREPROCESS, Order.of(4, 4)))
    for row, name in enumerate(names):
        index = int(name.removeprefix("test_"))
        assert {kind_: read.labels[kind_][row] for kind_ in labels} == {n: v[index] for n, v in labels.items()}
        np.testing.assert_allclose(read.images[row], pictures[index] / 255, atol=1e-6)
