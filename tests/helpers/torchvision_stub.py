"""Just enough of torchvision for open_clip to be imported and to preprocess Pillow images.

torchvision has no build for every torch, and open_clip imports it. What stands here follows torchvision's documented
behaviour on Pillow images (checked once, bit for bit, against torchvision 0.29.2), so that the order and the options
of preprocessing in the tests are open_clip's own.
"""

import enum
import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, ImageOps


class InterpolationMode(enum.Enum):
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


def install() -> None:
    """Put the stand-in where torchvision is looked for, unless there is a torchvision."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision"):
        return
    functional = _module(
        "torchvision.transforms.functional",
        resize=resize, pad=pad, crop=crop, get_dimensions=get_dimensions, to_tensor=to_tensor,
    )  # fmt: skip
    training_only = dict.fromkeys(("RandomResizedCrop", "ColorJitter", "Grayscale"), type("TrainingOnly", (), {}))
    transforms = _module(
        "torchvision.transforms",
        functional=functional, InterpolationMode=InterpolationMode, Compose=Compose, Resize=Resize,
        CenterCrop=CenterCrop, ToTensor=ToTensor, Normalize=Normalize, **training_only,
    )  # fmt: skip
    misc = _module("torchvision.ops.misc", FrozenBatchNorm2d=type("FrozenBatchNorm2d", (), {}))
    _module("torchvision", transforms=transforms, ops=_module("torchvision.ops", misc=misc), __version__="0.0")


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    module.__path__ = []
    vars(module).update(members)
    sys.modules[name] = module
    return module


def get_dimensions(image: Image.Image) -> list[int]:
    return [len(image.getbands()), image.height, image.width]


def resize(image: Image.Image, size: Any, interpolation: InterpolationMode = InterpolationMode.BILINEAR) -> Image.Image:
    """`size` (height, width), or one number for the shorter side; the longer one is then truncated."""
    if isinstance(size, int):
        short = min(image.size)
        size = [int(size * side / short) for side in (image.height, image.width)]
    return image.resize((size[1], size[0]), getattr(Image.Resampling, interpolation.name))


def pad(image: Image.Image, padding: list[int], fill: int | tuple[int, ...] = 0) -> Image.Image:
    n_bands = len(image.getbands())
    filled = fill if n_bands == 1 or isinstance(fill, tuple) else (fill,) * n_bands
    padded = ImageOps.expand(image, tuple(padding), filled)
    if image.mode == "P":
        padded.putpalette(image.getpalette())
    return padded


def crop(image: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    return image.crop((left, top, left + width, top + height))


def to_tensor(image: Image.Image) -> Any:
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class Compose:
    def __init__(self, transforms: list[Any]):
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    def __init__(self, size: Any, interpolation: InterpolationMode):
        self.size, self.interpolation = size, interpolation

    def __call__(self, image: Image.Image) -> Image.Image:
        return resize(image, self.size, self.interpolation)


class CenterCrop:
    """Centre crop of an image that is at least as large as the crop."""

    def __init__(self, size: tuple[int, int]):
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        top, left = round((image.height - height) / 2), round((image.width - width) / 2)
        return crop(image, top, left, height, width)


class ToTensor:
    def __call__(self, image: Image.Image) -> Any:
        return to_tensor(image)


class Normalize:
    def __init__(self, mean: Any, std: Any):
        self.mean, self.std = mean, std

    def __call__(self, image: Any) -> Any:
        mean, std = (image.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return (image - mean) / std
