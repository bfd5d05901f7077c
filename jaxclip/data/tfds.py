"""Data sets of tensorflow-datasets, read without TensorFlow: by name or from a folder that holds a prepared one."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxclip.data.source import UNLABELLED, Example, Stored, digest
from jaxclip.files.plain import expanded, read_bytes, refuse_special
from jaxclip.files.strict_json import MAX_FILE, parse_json

FEATURES = frozenset(
    f"tensorflow_datasets.core.features.{name}"
    for name in (
        "features_dict.FeaturesDict", "top_level_feature.TopLevelFeature", "sequence_feature.Sequence",
        "tensor_feature.Tensor", "feature.Tensor", "scalar.Scalar", "text_feature.Text",
        "class_label_feature.ClassLabel", "image_feature.Image", "labeled_image.LabeledImage",
        "bounding_boxes.BBoxFeature", "translation_feature.Translation",
    )
)  # fmt: skip
"""What a prepared folder may say that its records are made of: tfds imports whatever module is named there."""
NAME = re.compile(r"\w+(/[\w.+-]+)*(:[\d.]+)?", re.ASCII)
"""What tfds has a name for. It takes `owner:name` too, and would then fetch code and run it."""
NAME_FEATURES = ("file_name", "filename", "image_id", "id")
PREPARED = "dataset_info.json"


class TfdsRecords:
    """A split of a data set, record by record, with images still encoded.

    Attributes:
      info: tfds's own description of it.
      split: that is read.
      image: the feature that is the image.
    """

    kind = "tfds"

    def __init__(self, data: str, split: str | None = None):
        import tensorflow_datasets as tfds

        builder = _builder(tfds, data)
        self.info, features = builder.info, builder.info.features
        self.split = split or _only_split(builder)
        self.image = _image_feature(tfds, features, data)
        images = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
        decoders = {name: tfds.decode.SkipDecoding() for name in images}
        try:
            self._records = builder.as_data_source(self.split, decoders=decoders)
        except NotImplementedError as error:  # tfds's own, for a format that it reads with TensorFlow alone
            raise ValueError(
                f"{data} is stored as {builder.info.file_format.value}, which needs TensorFlow to be read; prepare it "
                f"with file_format='array_record'."
            ) from error
        except (ValueError, KeyError) as error:
            raise ValueError(f"{data} has no split {self.split!r}; it has {', '.join(builder.info.splits)}.") from error

    def __len__(self) -> int:
        return len(self._records)

    def record(self, index: int) -> Any:
        """What the data set holds of one image.

        Raises:
          ValueError: it is damaged.
        """
        try:
            return self._records[index]
        except IndexError:
            raise
        except Exception as error:  # the formats' readers raise whatever they meet
            raise ValueError(f"record {index} of {self.info.data_dir} cannot be read ({error!s:.200}).") from error

    def fingerprint(self) -> str:
        """Of the data set's own record of itself and of its files' sizes and times of change."""
        stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self._files()]
        return digest([self.info.full_name, self.split, len(self), stamps])

    def stored(self) -> Stored:
        files = self._files()
        return Stored(len(files), lambda number: files[number], False)

    def _files(self) -> list[Path]:
        return sorted(path for path in Path(self.info.data_dir).iterdir() if path.is_file())


class TfdsSource(TfdsRecords):
    """Images stay encoded until the loader decodes them, as for files. Every class label is a kind of label."""

    def __init__(self, data: str, split: str | None = None):
        import tensorflow_datasets as tfds

        super().__init__(data, split)
        features = self.info.features
        labels = [name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
        texts = [name for name, feature in features.items() if isinstance(feature, tfds.features.Text)]
        self._name = next((name for name in NAME_FEATURES if name in texts), None)
        self.label_names = {name: tuple(features[name].names) for name in labels}

    def __getitem__(self, index: int) -> Example:
        record = self.record(index)
        labels = {name: max(int(record[name]), UNLABELLED) for name in self.label_names}
        name = record[self._name].decode(errors="replace") if self._name else f"{self.split}/{index}"
        return Example(name, bytes(record[self.image]), labels)


def _builder(tfds: Any, data: str) -> Any:
    path = expanded(data)
    if path.is_dir():
        found = sorted(file.parent for file in path.glob(f"**/{PREPARED}"))
        if not found:
            raise ValueError(f"{path} holds no prepared tfds data set: there is no {PREPARED} in it.")
        if len(found) > 1:
            names = ", ".join(folder.relative_to(path).as_posix() for folder in found[:5])
            raise ValueError(f"{path} holds several tfds data sets; pass the folder of one: {names}.")
        return _prepared(tfds, found[0])
    if not NAME.fullmatch(data):
        raise FileNotFoundError(f"{data}: there is no such file or folder, and it is no name of a tfds data set.")
    try:
        builder = tfds.builder(data, try_gcs=False)
    except Exception as error:  # its registry raises many kinds of error for a name that it does not know
        raise FileNotFoundError(
            f"{data}: there is no such file or folder, and no tfds data set of that name is prepared here."
        ) from error
    if not builder.data_path.exists():
        raise FileNotFoundError(
            f"{data} is not prepared in {builder.data_path.parent}; prepare it with tfds "
            f"(file_format='array_record'), or pass the folder it lies in."
        )
    return builder


def _prepared(tfds: Any, folder: Path) -> Any:
    try:
        for path in folder.iterdir():  # tfds opens them by name, and would wait for a pipe
            refuse_special(path)
        _check_features(parse_json(read_bytes(folder / "features.json", MAX_FILE)))
        return tfds.builder_from_directory(folder)
    except Exception as error:  # tfds and protobuf raise whatever their parsers do
        raise ValueError(f"{folder} is no tfds data set that can be read ({error!s:.300}).") from error


def _check_features(value: Any) -> None:
    """Refuse a feature that is not one of tfds's own, before anything is imported."""
    if isinstance(value, Mapping):
        named = (value.get(key) for key in ("type", "pythonClassName", "python_class_name"))
        if wrong := [name for name in named if isinstance(name, str) and name not in FEATURES]:
            raise ValueError(f"its features.json has {wrong[0][:80]!r}; expected tfds's own features of images")
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for one in inside:
        _check_features(one)


def _only_split(builder: Any) -> str:
    splits = list(builder.info.splits)
    if len(splits) == 1:
        return splits[0]
    raise ValueError(f"{builder.info.name} has the splits {', '.join(splits)}; pass one of them as split.")


def _image_feature(tfds: Any, features: Any, data: str) -> str:
    # Masks are images too: LabeledImage is one, and comes after "image".
    found = [name for name, feature in features.items() if type(feature) is tfds.features.Image]
    if "image" in found or len(found) == 1:
        return "image" if "image" in found else found[0]
    raise ValueError(f"{data} must have one feature that is an image; it has {', '.join(found) or 'none'}.")
