"""Pictures with masks, for segmentation: files, Pascal VOC's folders, ImageNet-Segmentation, tfds, and the scenes.

In every mask that a source gives, 0 is the background, label i is the i-th of the source's classes (where it names
them), and pixels labelled 255 do not count; `jaxclip.data.masks.labels` says how files are brought there.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxclip.data.masks.imagenet_segmentation import ImageNetSegmentation
from jaxclip.data.masks.labels import MaskLabels, Masks
from jaxclip.data.masks.mask_files import Raw, read_raw
from jaxclip.data.masks.picture_files import PictureReader
from jaxclip.data.masks.source import Masked, MaskedSource, checked
from jaxclip.data.source import Stored
from jaxclip.data.stamps import Listing
from jaxclip.data.tables import read_text
from jaxclip.data.tfds import PREPARED, TfdsRecords
from jaxclip.data.walk import images_below, subfolders
from jaxclip.files.images import n_pixels
from jaxclip.files.plain import expanded, is_there, refuse_special
from jaxclip.numerics.arrays import counted

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip


class MaskFolders:
    """Picture files and, by the same name without suffix, mask files.

    Attributes:
      masks: what is known of the mask files together; None without them.
    """

    kind = "folders"

    def __init__(
        self,
        images: Mapping[str, Path],
        masks: Mapping[str, Path] | None,
        names: tuple[str, ...] | None,
        apply_exif: bool | None = None,
        labels: MaskLabels = MaskLabels(),
    ):
        self.class_names, self._pictures, self._colours = names, PictureReader(apply_exif), labels.colours
        ending = "" if masks is None else common_ending([Path(name).stem for name in images], masks)
        stems = {name: Path(name).stem + ending for name in images}
        if masks is not None and (missing := [name for name in images if stems[name] not in masks]):
            raise ValueError(
                f"{missing[0]} has no mask of its name ({len(missing)} of {counted(len(images), 'picture')}); add "
                f"them, or remove the pictures."
            )
        self._files = [(name, path, masks[stems[name]] if masks else None) for name, path in images.items()]
        self.masks = Masks(self._raws, labels, known=names is not None) if masks is not None else None
        # All masks are read to know what their numbers mean, and each again where it counts: of the same files.
        self._listing = Listing.of(self, since="the data was opened")

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Masked:
        self._check(index)
        read = self._read(*self._files[index])
        self._check(index)
        return read

    def stored(self) -> Stored:
        """Pictures, then their masks."""
        paths = [path for _, path, _ in self._files] + [mask for _, _, mask in self._files if mask is not None]
        return Stored(len(paths), paths.__getitem__, False)

    def _check(self, index: int) -> None:
        for number in range(index, self._listing.stored.n, len(self)):
            self._listing.check(number)

    def _read(self, name: str, path: Path, mask: Path | None) -> Masked:
        picture = self._pictures.read(path, name)
        if mask is None or self.masks is None:
            return checked(name, picture, None)
        return checked(name, picture, self.masks.read(self._raw(path, mask)))

    def _raw(self, picture: Path, mask: Path) -> Raw:
        return read_raw(mask, colours=self._colours, beside=partial(n_pixels, picture))

    def _raws(self) -> Iterator[Raw]:
        return (self._raw(path, mask) for _, path, mask in self._files if mask is not None)


class TfdsMasks(TfdsRecords):
    """A tfds data set: masks are a feature of it, or lie in a folder under the pictures' names.

    tfds has Pascal VOC's pictures and class names (`voc/2012`) and not its masks: pass VOC's SegmentationClass folder.
    """

    MASKS = ("segmentation_mask", "mask", "segmentation")

    def __init__(
        self,
        data: str,
        split: str | None = None,
        masks: Path | None = None,
        apply_exif: bool | None = None,
        labels: MaskLabels = MaskLabels(),
        limit: int | None = None,
    ):
        import tensorflow_datasets as tfds

        super().__init__(data, split)
        self._limit = limit
        self._pictures = PictureReader(apply_exif)
        features = self.info.features
        labelled = [name for name, feature in features.items() if isinstance(feature, tfds.features.LabeledImage)]
        self._mask = next((name for name in (*labelled, *self.MASKS) if name in features), None)
        self._folder = None if masks is None else masks_below(masks)
        self._file_name = next((name for name in ("file_name", "image/filename", "filename") if name in features), None)
        if self._folder is not None and self._file_name is None:
            raise ValueError(f"{data} does not name its pictures' files, so masks in a folder cannot be theirs.")
        self.class_names = self._class_names(features)
        # Oxford-IIIT Pet's trimaps: 1 is the animal, 2 the background, 3 its border.
        trimaps = self.info.name == "oxford_iiit_pet" and self._folder is None and labels == MaskLabels()
        labels = MaskLabels(background=2, ignore=(3,)) if trimaps else labels
        self._colours = labels.colours
        own = self._folder is None or self.info.name == "voc"
        known = trimaps or (own and self.class_names is not None)
        has = self._mask is not None or self._folder is not None
        self.masks = Masks(self._raws, labels, known=known) if has else None

    def __len__(self) -> int:
        return super().__len__() if self._limit is None else min(self._limit, super().__len__())

    def __getitem__(self, index: int) -> Masked:
        record = self.record(index)
        name = self._name(record, index)
        picture = self._pictures.read(io.BytesIO(record[self.image]), name)
        return checked(name, picture, None if self.masks is None else self.masks.read(self._raw(record, name)))

    def _name(self, record: Any, index: int) -> str:
        if self._file_name:
            return record[self._file_name].decode(errors="replace")
        return f"{self.split}_{index:06d}"

    def _raw(self, record: Any, name: str) -> Raw:
        beside = partial(n_pixels, bytes(record[self.image]))
        if self._folder is None:
            return read_raw(io.BytesIO(record[self._mask]), name, self._colours, beside)
        if Path(name).stem not in self._folder:
            raise ValueError(f"{name} has no mask of its name in the folder of masks.")
        return read_raw(self._folder[Path(name).stem], None, self._colours, beside)

    def _raws(self) -> Iterator[Raw]:
        for index in range(len(self)):
            record = self.record(index)
            yield self._raw(record, self._name(record, index))

    def _class_names(self, features: Any) -> tuple[str, ...] | None:
        if self._mask is not None and self._folder is None:
            names = tuple(getattr(features[self._mask], "names", None) or ())
            return names[1:] or None
        if self.info.name == "voc":
            return VOC_CLASSES
        inner = getattr(features["labels"], "feature", None) if "labels" in features else None
        return tuple(inner.names) if inner is not None and hasattr(inner, "names") else None


class SceneMasks:
    """The procedural scenes, whose masks are exact."""

    kind = "scenes"

    def __init__(self, split: str | None = None, seed: int = 0):
        from jaxclip.data.open_data import Scenes
        from jaxclip.data.scenes import CLASSES

        self.source, self.seed = Scenes(split, seed=seed), seed
        self.class_names = CLASSES[1:]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Masked:
        from jaxclip.data.scenes import scene

        drawn = scene(self.seed, self.source.split, index, self.source.pixels, n_captions=1)
        name = f"{self.source.split}_{index:06d}"
        return Masked(name, Image.fromarray(drawn["image"]), drawn["mask"].astype(np.int32))


def open_masked(
    data: str | Path,
    *,
    masks: Path | None = None,
    split: str | None = None,
    apply_exif: bool | None = None,
    labels: MaskLabels = MaskLabels(),
    limit: int | None = None,
) -> MaskedSource:
    """Pictures to segment, with masks where there are any.

    Args:
      data: a picture; a folder of pictures; a folder with `images` and `masks` in it; Pascal VOC's folder (JPEGImages,
        SegmentationClass); gtsegs_ijcv.mat; a tfds folder or name; or "scenes".
      masks: a folder of mask files under the pictures' names, where they do not lie with the data.
      split: of data that has splits. In VOC's folder a list in ImageSets/Segmentation ("val"), without it every
        picture that has a mask.
      apply_exif: as `jaxclip.data.masks.picture_files` has it; masks are those of the pictures as they then are.
      labels: what the numbers in mask files mean, where it is known; else they tell, or it is asked for. Pascal VOC's,
        and those of a tfds data set that names its classes, are known.
      limit: only the first so many pictures of files and of tfds.

    Raises:
      FileNotFoundError: there is no such file or folder.
      ValueError: nothing in it, or pictures without masks where others have them.
    """
    path = expanded(data)
    if masks is not None and not Path(masks).is_dir():
        raise FileNotFoundError(f"{masks}: there is no such folder of masks.")
    if not path.exists() and str(data) == "scenes":
        return SceneMasks(split)
    if path.is_dir() and (path / "JPEGImages").is_dir():
        return _voc(path, split, apply_exif, labels, limit)
    if not path.exists() or (path.is_dir() and next(path.glob(f"**/{PREPARED}"), None) is not None):
        return TfdsMasks(str(data), split, masks, apply_exif, labels, limit)
    refuse_special(path)
    if split is not None:
        raise ValueError(f"{data} has no splits; leave out split={split!r}.")
    if path.is_file():
        if path.suffix.lower() in (".mat", ".h5", ".hdf5"):
            return ImageNetSegmentation(path)
        return MaskFolders({path.name: path}, masks and masks_below(masks), None, apply_exif, labels)
    if "images" in subfolders(path):
        inside = path / "masks" if (path / "masks").is_dir() else masks
        return MaskFolders(
            _pictures(path / "images", limit=limit), inside and masks_below(inside), None, apply_exif, labels
        )
    return MaskFolders(_pictures(path, limit=limit), masks and masks_below(masks), None, apply_exif, labels)


def masks_below(folder: Path) -> dict[str, Path]:
    """Mask files by their name without suffix.

    Raises:
      ValueError: two have the same.
    """
    found = {}
    for name in images_below(folder, deep=False)[0]:
        if other := found.get(Path(name).stem):
            raise ValueError(f"{folder} has two masks of one name, {other.name} and {name}; remove one.")
        found[Path(name).stem] = folder / name
    return found


def common_ending(stems: Sequence[str], masks: Mapping[str, Path]) -> str:
    """What every mask's name has behind its picture's, such as "_mask"; nothing where names are the same, or where
    masks do not have one ending alone."""
    if not stems or any(stem in masks for stem in stems):
        return ""
    first = {name[len(stems[0]) :] for name in masks if name.startswith(stems[0])}
    endings = [ending for ending in first if all(stem + ending in masks for stem in stems)]
    return endings[0] if len(endings) == 1 else ""


def _pictures(folder: Path, stems: Sequence[str] | None = None, limit: int | None = None) -> dict[str, Path]:
    found = images_below(folder, deep=False)[0]
    if stems is not None:
        by_stem = {Path(name).stem: name for name in found}
        if missing := [stem for stem in stems if stem not in by_stem]:
            raise ValueError(
                f"{folder} lacks {counted(len(missing), 'picture')} of the list, the first is {missing[0]}."
            )
        found = [by_stem[stem] for stem in stems]
    if not found:
        raise ValueError(f"{folder} holds no images; pass a folder with at least one.")
    return {name: folder / name for name in found[:limit]}


def _voc(path: Path, split: str | None, apply_exif: bool | None, labels: MaskLabels, limit: int | None) -> MaskFolders:
    if not (path / "SegmentationClass").is_dir():
        raise ValueError(f"{path} has JPEGImages and no SegmentationClass; add VOC's folder of masks.")
    masks = masks_below(path / "SegmentationClass")
    stems = sorted(masks)
    if split is not None:
        listed = path / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not is_there(listed):
            there = ", ".join(sorted(file.stem for file in listed.parent.glob("*.txt"))) or "none"
            raise ValueError(f"{path} has no split {split!r} in ImageSets/Segmentation; it has {there}.")
        stems = read_text(listed).split()
    return MaskFolders(_pictures(path / "JPEGImages", stems, limit), masks, VOC_CLASSES, apply_exif, labels)
