"""Data sets of tensorflow-datasets, read without TensorFlow: by name or from a folder that holds a prepared one."""

from pathlib import Path
from typing import Any

from jaxclip.data.source import UNLABELLED, Example, digest

NAME_FEATURES = ("file_name", "filename", "image_id", "id")
PREPARED = "dataset_info.json"


class TfdsSource:
    """Images stay encoded until the loader decodes them, as for files. Every class label is a kind of label."""

    kind = "tfds"

    def __init__(self, data: str, split: str | None = None):
        import tensorflow_datasets as tfds

        builder = _builder(tfds, data)
        features = builder.info.features
        self.split = split or _only_split(builder)
        self._image = _image_feature(tfds, features, data)
        labels = [name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
        texts = [name for name, feature in features.items() if isinstance(feature, tfds.features.Text)]
        self._name = next((name for name in NAME_FEATURES if name in texts), None)
        self.label_names = {name: tuple(features[name].names) for name in labels}
        images = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
        decoders = {name: tfds.decode.SkipDecoding() for name in images}
        try:
            self._records = builder.as_data_source(self.split, decoders=decoders)
        except NotImplementedError as error:
            raise ValueError(
                f"{data} is stored as {builder.info.file_format.value}, which needs TensorFlow to be read; prepare it "
                f"with file_format='array_record'."
            ) from error
        except (ValueError, KeyError) as error:
            raise ValueError(f"{data} has no split {self.split!r}; it has {', '.join(builder.info.splits)}.") from error
        self._info = builder.info

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        labels = {name: max(int(record[name]), UNLABELLED) for name in self.label_names}
        name = record[self._name].decode(errors="replace") if self._name else f"{self.split}/{index}"
        return Example(name, bytes(record[self._image]), labels)

    def fingerprint(self) -> str:
        """Of the data set's own record of itself and of its files' sizes and times of change."""
        folder = Path(self._info.data_dir)
        files = sorted(path for path in folder.iterdir() if path.is_file())
        stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return digest([self._info.full_name, self.split, len(self), stamps])


def _builder(tfds: Any, data: str) -> Any:
    path = Path(data).expanduser()
    if path.is_dir():
        found = sorted(file.parent for file in path.glob(f"**/{PREPARED}"))
        if not found:
            raise ValueError(f"{path} holds no prepared tfds data set: there is no {PREPARED} in it.")
        if len(found) > 1:
            names = ", ".join(folder.relative_to(path).as_posix() for folder in found[:5])
            raise ValueError(f"{path} holds several tfds data sets; pass the folder of one: {names}.")
        return tfds.builder_from_directory(found[0])
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
