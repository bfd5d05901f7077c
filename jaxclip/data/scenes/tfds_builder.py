"""`Scenes`: the procedural scenes as a tensorflow-datasets builder that needs no TensorFlow.

    builder = Scenes(data_dir=folder)
    builder.download_and_prepare()
    source = builder.as_data_source("train")    # random access, NumPy

Files are ArrayRecord, or whatever `file_format=` names of the formats that tensorflow-datasets writes without
TensorFlow. Nothing is downloaded. Records keep their order: `source[i]` is `scene(seed, split, i)`.
"""

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, get_args

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image

from jaxclip.data.scenes import CLASSES, FACTORS, scene
from jaxclip.data.scenes.spec import Kind, Split

CATEGORIES = CLASSES[1:]
"""Everything an object can be: the shapes, then the birds."""

_OF_OBJECTS = ("colour", "texture", "size")


@dataclass(kw_only=True)
class ScenesConfig(tfds.core.BuilderConfig):
    """How many scenes, how large and from which seed; `Scenes(config=ScenesConfig(...))` for one of your own.

    `pixels` is the height and width of an image. Scene `i` does not depend on how many there are.
    """

    n_train: int
    n_validation: int
    n_test: int
    pixels: int = 96
    n_captions: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("n_train", "n_validation", "n_test", "n_captions"):
            if getattr(self, field) < 1:
                raise ValueError(f"ScenesConfig.{field} must be at least 1; got {getattr(self, field)}.")


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Scenes with every factor recorded.

    A factor of the whole scene is -1 where it does not apply: a pair of objects has no one colour, birds have no shape
    and `group` is of birds alone. `objects` holds what each group of copies is, `copies` where each copy was drawn.
    """

    VERSION = tfds.core.Version("1.0.0")
    # Nothing is downloaded. Left alone, tensorflow-datasets looks for checksums beside this file, with a package that
    # it does not install (importlib_resources).
    url_infos: ClassVar[Any] = {}  # pyright: ignore[reportIncompatibleVariableOverride]
    BUILDER_CONFIGS = (
        ScenesConfig(name="default", description="Whole.", n_train=20_000, n_validation=2_000, n_test=4_000),
        ScenesConfig(
            name="tiny", description="For tests.", n_train=80, n_validation=20, n_test=40, pixels=48, n_captions=2
        ),
    )

    def __init__(self, *, file_format: str | None = None, **options: Any) -> None:
        super().__init__(file_format=file_format, **options)
        # tensorflow-datasets' own default, TFRecord, needs TensorFlow to be written.
        if file_format is None and not self.data_path.exists():
            self.info.set_file_format("array_record", override=True)

    def _info(self) -> tfds.core.DatasetInfo:
        config: Any = self.builder_config
        pixels, features = config.pixels, tfds.features
        return tfds.core.DatasetInfo(
            builder=self,
            description=" ".join(str(self.__doc__).split()),
            license="Apache-2.0",
            disable_shuffling=True,
            features=features.FeaturesDict(
                {
                    "index": np.int64,
                    "image": features.Image(shape=(pixels, pixels, 3), encoding_format="png"),
                    "mask": features.LabeledImage(
                        shape=(pixels, pixels, 1), labels=list(CLASSES), encoding_format="png"
                    ),
                    "instances": features.Image(shape=(pixels, pixels, 1), encoding_format="png"),
                    "captions": features.Sequence(features.Text()),
                    "kind": _label(get_args(Kind)),
                    **{factor: _label(names) for factor, names in FACTORS.items()},
                    "objects": features.Sequence(
                        {
                            "category": _label(CATEGORIES),
                            **{factor: _label(FACTORS[factor]) for factor in (*_OF_OBJECTS, "place")},
                            "number": np.int64,
                        }
                    ),
                    "copies": features.Sequence(
                        {
                            "category": _label(CATEGORIES),
                            "instance": np.int64,
                            **dict.fromkeys(("x", "y", "diameter", "angle"), np.float32),
                        }
                    ),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {split: self._generate_examples(split) for split in get_args(Split)}

    def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        config: Any = self.builder_config
        for index in range(getattr(config, f"n_{split}")):
            drawn = scene(config.seed, split, index, config.pixels, config.n_captions)
            yield index, {"index": index, **_example(drawn)}


def _label(names: tuple[str, ...]) -> tfds.features.ClassLabel:
    return tfds.features.ClassLabel(names=list(names))


def _example(drawn: dict[str, Any]) -> dict[str, Any]:
    """A scene in the words of the features; a place that is None becomes -1."""
    spec = drawn["spec"]
    return {
        **{name: _png(drawn[name]) for name in ("image", "mask", "instances")},
        "captions": drawn["captions"],
        "kind": spec["kind"],
        **drawn["labels"],
        "objects": [{**group, "place": -1 if group["place"] is None else group["place"]} for group in spec["groups"]],
        "copies": [asdict(placement) for placement in drawn["placements"]],
    }


def _png(pixels: UInt8[np.ndarray, "height width *channel"]) -> bytes:
    # tensorflow-datasets takes arrays to TensorFlow for encoding; bytes it stores as they are.
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()
