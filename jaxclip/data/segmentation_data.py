"""Pictures with masks, for segmentation: files, Pascal VOC's folders, ImageNet-Segmentation, tfds, and the scenes.

In every mask 0 is the background, label i is the i-th of the source's classes (where it names them), and pixels
labelled 255 do not count.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxclip.data.files import images_below, read_text, subfolders
from jaxclip.data.imagenet_segmentation import ImageNetSegmentation
from jaxclip.data.mask_files import read_mask
from jaxclip.data.masked import Masked, MaskedSource, checked
from jaxclip.data.picture_files import PictureReader
from jaxclip.data.tfds_source import PREPARED, TfdsRecords

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip


class MaskFolders:
    """Picture files and, by the same name without suffix, mask files."""

    kind = "folders"

    def __init__(
        self,
        images: Mapping[str, Path],
        masks: Mapping[str, Path] | None,
        names: tuple[str, ...] | None,
        apply_exif: bool | None = None,
    ):
        self.class_names, self._pictures = names, PictureReader(apply_exif)
        if masks is not None and (missing := [name for name in images if Path(name).stem not in masks]):
            raise ValueError(
                f"{missing[0]} has no mask of its name ({len(missing)} of {len(images)} pictures have none); add them, "
                f"or remove the pictures."
            )
        self._files = [(name, path, masks[Path(name).stem] if masks else None) for name, path in images.items()]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Masked:
        name, path, mask = self._files[index]
        picture = self._pictures.read(path, name)
        return checked(name, picture, None if mask is None else read_mask(mask))


class TfdsMasks(TfdsRecords):
    """A tfds data set: masks are a feature of it, or lie in a folder under the pictures' names.

    tfds has Pascal VOC's pictures and class names (`voc/2012`) and not its masks: pass VOC's SegmentationClass folder.
    """

    MASKS = ("segmentation_mask", "mask", "segmentation")

    def __init__(self, data: str, split: str | None = None, masks: Path | None = None, apply_exif: bool | None = None):
        import tensorflow_datasets as tfds

        super().__init__(data, split)
        self._pictures = PictureReader(apply_exif)
        features = self.info.features
        labelled = [name for name, feature in features.items() if isinstance(feature, tfds.features.LabeledImage)]
        self._mask = next((name for name in (*labelled, *self.MASKS) if name in features), None)
        self._folder = None if masks is None else masks_below(masks)
        self._file_name = next((name for name in ("file_name", "image/filename", "filename") if name in features), None)
        if self._folder is not None and self._file_name is None:
            raise ValueError(f"{data} does not name its pictures' files, so masks in a folder cannot be theirs.")
        self.class_names = self._class_names(features)

    def __getitem__(self, index: int) -> Masked:
        record = self.record(index)
        name = f"{self.split}_{index:06d}"
        if self._file_name:
            name = record[self._file_name].decode(errors="replace")
        picture, mask = self._pictures.read(io.BytesIO(record[self.image]), name), None
        if self._folder is not None:
            if Path(name).stem not in self._folder:
                raise ValueError(f"{name} has no mask of its name in the folder of masks.")
            mask = read_mask(self._folder[Path(name).stem])
        elif self._mask is not None:
            mask = read_mask(io.BytesIO(record[self._mask]), name)
        return checked(name, picture, mask)

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
        from jaxclip.data.scenes import CLASSES
        from jaxclip.data.sources import Scenes

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
    data: str | Path, *, masks: Path | None = None, split: str | None = None, apply_exif: bool | None = None
) -> MaskedSource:
    """Pictures to segment, with masks where there are any.

    Args:
      data: a picture; a folder of pictures; a folder with `images` and `masks` in it; Pascal VOC's folder (JPEGImages,
        SegmentationClass); gtsegs_ijcv.mat; a tfds folder or name; or "scenes".
      masks: a folder of mask files under the pictures' names, where they do not lie with the data.
      split: of data that has splits. In VOC's folder a list in ImageSets/Segmentation ("val"), without it every
        picture that has a mask.
      apply_exif: as `jaxclip.data.picture_files` has it; masks are those of the pictures as they then are.

    Raises:
      FileNotFoundError: there is no such file or folder.
      ValueError: nothing in it, or pictures without masks where others have them.
    """
    path = Path(data).expanduser()
    if masks is not None and not Path(masks).is_dir():
        raise FileNotFoundError(f"{masks}: there is no such folder of masks.")
    if not path.exists() and str(data) == "scenes":
        return SceneMasks(split)
    if path.is_dir() and (path / "JPEGImages").is_dir():
        return _voc(path, split, apply_exif)
    if not path.exists() or (path.is_dir() and next(path.glob(f"**/{PREPARED}"), None) is not None):
        return TfdsMasks(str(data), split, masks, apply_exif)
    if split is not None:
        raise ValueError(f"{data} has no splits; leave out split={split!r}.")
    if path.is_file():
        if path.suffix.lower() in (".mat", ".h5", ".hdf5"):
            return ImageNetSegmentation(path)
        return MaskFolders({path.name: path}, masks and masks_below(masks), None, apply_exif)
    if "images" in subfolders(path):
        inside = path / "masks" if (path / "masks").is_dir() else masks
        return MaskFolders(_pictures(path / "images"), inside and masks_below(inside), None, apply_exif)
    return MaskFolders(_pictures(path), masks and masks_below(masks), None, apply_exif)


def masks_below(folder: Path) -> dict[str, Path]:
    """Mask files by their name without suffix."""
    return {Path(name).stem: folder / name for name in images_below(folder, deep=False)[0]}


def _pictures(folder: Path, stems: Sequence[str] | None = None) -> dict[str, Path]:
    found = images_below(folder, deep=False)[0]
    if stems is not None:
        by_stem = {Path(name).stem: name for name in found}
        if missing := [stem for stem in stems if stem not in by_stem]:
            raise ValueError(f"{folder} lacks the picture {missing[0]}, and {len(missing) - 1} others of the list.")
        found = [by_stem[stem] for stem in stems]
    if not found:
        raise ValueError(f"{folder} holds no images; pass a folder with at least one.")
    return {name: folder / name for name in found}


def _voc(path: Path, split: str | None, apply_exif: bool | None) -> MaskFolders:
    if not (path / "SegmentationClass").is_dir():
        raise ValueError(f"{path} has JPEGImages and no SegmentationClass; add VOC's folder of masks.")
    masks = masks_below(path / "SegmentationClass")
    stems = sorted(masks)
    if split is not None:
        listed = path / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not listed.is_file():
            there = ", ".join(sorted(file.stem for file in listed.parent.glob("*.txt"))) or "none"
            raise ValueError(f"{path} has no split {split!r} in ImageSets/Segmentation; it has {there}.")
        stems = read_text(listed).split()
    return MaskFolders(_pictures(path / "JPEGImages", stems), masks, VOC_CLASSES, apply_exif)
