"""What a checkpoint's own files say about preprocessing -> PreprocessConfig."""

import re
from typing import Any

from jaxclip.config import Interpolation, PreprocessConfig, ResizeMode
from jaxclip.convert.formats.format import pair
from jaxclip.convert.readers.tensors import CheckpointError

OPENAI = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
"""What OpenCLIP's `preprocess_cfg` format means where a key is absent; also how every OpenAI archive was trained."""

OPENCLIP_KEYS = {*OPENAI, "size", "mode"}
HF_KEYS = {
    "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "do_convert_rgb", "image_processor_type", "default_to_square", "do_pad", "pad_size",
}  # fmt: skip
HF_IGNORED = {
    "feature_extractor_type", "processor_class", "data_format", "input_data_format", "return_tensors", "device",
    "_valid_processor_keys", "disable_grouping", "crop_pct", "image_seq_length", "transformers_version",
}  # fmt: skip
HF_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
HF_RESAMPLE: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
HF_BOX = ({"shortest_edge"}, {"height", "width"})
HF_CLIP = {"default_to_square": False, "do_center_crop": True, "crop_size": 224}
HF_VIT = {"default_to_square": True, "do_center_crop": False, "crop_size": None}
HF_PROCESSORS: dict[str, dict[str, Any]] = {
    "CLIP": HF_CLIP,
    "Bit": HF_CLIP,
    "ViT": HF_VIT,
    "Siglip": HF_VIT | {"default_to_square": False},
}
"""transformers' image processors that only resize, crop and normalise, and what each does where its file is silent.

`do_convert_rgb` is no part of it: where it is off they take RGB alone, and stop at any other picture."""


def openclip_preprocess(fields: Any, image_size: tuple[int, int]) -> tuple[PreprocessConfig, tuple[str, ...]]:
    """Read an OpenCLIP `preprocess_cfg`; also list the keys that the format's own rule supplied.

    The size is the tower's, as in OpenCLIP, and not the file's.

    Raises:
      CheckpointError: an unknown or unsupported setting, by name.
    """
    fields = {} if fields is None else fields
    if not isinstance(fields, dict) or set(fields) - OPENCLIP_KEYS:
        raise CheckpointError(f"preprocess_cfg has settings that are not known: {_unknown(fields, OPENCLIP_KEYS)}.")
    if fields.get("mode", "RGB") != "RGB":
        raise CheckpointError(f"preprocess_cfg.mode={fields['mode']!r} is not supported: images are RGB.")
    # OpenCLIP itself takes what is empty for absent, and one number of mean or std for all three.
    given = {key: fields[key] for key in OPENAI if fields.get(key) or (key == "fill_color" and fields.get(key) == 0)}
    values = {**OPENAI, **given}
    values["fill"] = _fill(values.pop("fill_color"))
    one = {key: (values[key],) * 3 for key in ("mean", "std") if isinstance(values[key], int | float)}
    values |= {key: _three(one.get(key, values[key])) for key in ("mean", "std")}
    if values["interpolation"] == "random":
        raise CheckpointError(
            "preprocess_cfg.interpolation='random' is for training; OpenCLIP embeds with bicubic: write 'bicubic' in "
            "its place, or pass preprocess= with it, such as preprocess='openai-bicubic-shortest' where mean, std and "
            "resize_mode are OpenAI's."
        )
    defaults = tuple(f"preprocess_cfg.{key}={value!r}" for key, value in OPENAI.items() if key not in given)
    try:
        return PreprocessConfig(size=image_size, **values), defaults
    except TypeError as error:
        raise CheckpointError(f"preprocess_cfg holds a value of the wrong kind: {error}.") from error


def huggingface_preprocess(fields: Any, image_size: tuple[int, int]) -> PreprocessConfig:
    """Read a Hugging Face `preprocessor_config.json` as transformers' processor of that name does.

    Raises:
      CheckpointError: a step is missing or switched off that the tower needs, or is another one, by name.
    """
    if not isinstance(fields, dict) or set(fields) - HF_KEYS - HF_IGNORED:
        raise CheckpointError(
            f"preprocessor_config.json has settings that are not known: {_unknown(fields, HF_KEYS | HF_IGNORED)}; "
            f"pass preprocess=..."
        )
    # A step that is null is off there, and so is a crop to null; of other settings null is as good as nothing.
    said = {key: value for key, value in fields.items() if value is not None or key in ("crop_size", *HF_STEPS)}
    fields = _processor(fields) | said
    for step in ("do_resize", "do_normalize", "do_rescale"):
        if not fields.get(step, True):
            raise CheckpointError(f"preprocessor_config.json switches {step} off; pass preprocess=...")
    scale = fields.get("rescale_factor", 1 / 255)
    if not isinstance(scale, float) or abs(255 * scale - 1) > 1e-6:
        raise CheckpointError(f"preprocessor_config.json scales by {scale}; pass preprocess=...")
    lacking = [key for key in ("size", "resample", "image_mean", "image_std") if fields.get(key) is None]
    if lacking:
        raise CheckpointError(f"preprocessor_config.json lacks {', '.join(lacking)}; pass preprocess=...")
    if not isinstance(fields["resample"], int) or fields["resample"] not in HF_RESAMPLE:
        raise CheckpointError(f"preprocessor_config.json has resample={fields['resample']!r}; pass preprocess=...")
    return PreprocessConfig(
        size=image_size,
        mean=_three(fields["image_mean"]),
        std=_three(fields["image_std"]),
        interpolation=HF_RESAMPLE[fields["resample"]],
        resize_mode=_resize_mode(fields, image_size),
        library="transformers",
    )


def _processor(fields: dict[str, Any]) -> dict[str, Any]:
    """Look up what the image processor that a file names does unasked; CLIP's where it names none."""
    named = fields.get("image_processor_type") or fields.get("feature_extractor_type") or "CLIPImageProcessor"
    kind = re.fullmatch(r"(\w+?)(ImageProcessor(Fast|Pil)?|FeatureExtractor)", str(named))
    if kind is None or kind[1] not in HF_PROCESSORS:
        raise CheckpointError(
            f"preprocessor_config.json names {str(named)[:80]!r}, whose steps are not known here; known are those of "
            f"{', '.join(HF_PROCESSORS)}: pass preprocess=..."
        )
    if fields.get("do_pad") and fields.get("pad_size") is not None:
        raise CheckpointError(f"preprocessor_config.json pads to {fields['pad_size']}; pass preprocess=...")
    return HF_PROCESSORS[kind[1]]


def _resize_mode(fields: dict[str, Any], image_size: tuple[int, int]) -> ResizeMode:
    size, crop, crops = fields["size"], fields.get("crop_size"), fields["do_center_crop"]
    if isinstance(size, dict) and {key for key, value in size.items() if value is not None} not in HF_BOX:
        raise CheckpointError(
            f"preprocessor_config.json resizes to {size}; one shortest_edge, or height and width, can be done here: "
            f"pass preprocess=..."
        )
    square = fields["default_to_square"] or isinstance(size, list)
    shortest = size.get("shortest_edge") if isinstance(size, dict) else None if square else size
    if shortest is not None and crops and crop is not None and _height_width(crop) == image_size == pair(shortest):
        return "shortest"
    cuts = crops and (crop is None or _height_width(crop) != image_size)
    if shortest is None and _height_width(size) == image_size and not cuts:
        return "squash"
    raise CheckpointError(
        f"preprocessor_config.json resizes to {size} and crops to {crop if crops else 'nothing'}, which is neither a "
        f"shortest-side resize with a crop nor a squash to {image_size}; pass preprocess=..."
    )


def _fill(value: Any) -> int | tuple[int, int, int]:
    """Read a grey level or a colour from a number or a list; of levels that are no integers the fraction is cut off."""
    levels = value if isinstance(value, list | tuple) else [value]
    if len(levels) not in (1, 3) or not all(type(x) in (int, float) and 0 <= x < 256 for x in levels):
        raise CheckpointError(
            f"preprocess_cfg.fill_color must be one number of 0 to 255, or three, red, green and blue; got {value!r}."
        )
    first, *others = (int(x) for x in levels)
    return first if all(x == first for x in others) else (first, others[0], others[1])


def _three(values: Any) -> tuple[float, float, float]:
    if not isinstance(values, list | tuple) or not all(isinstance(x, int | float) for x in values) or len(values) != 3:
        raise CheckpointError(f"a mean or standard deviation must be three numbers; got {values!r}.")
    first, second, third = (float(x) for x in values)
    return first, second, third


def _height_width(size: Any) -> tuple[int, int]:
    return pair([size.get("height"), size.get("width")] if isinstance(size, dict) else size)


def _unknown(fields: Any, known: set[str]) -> str:
    return ", ".join(sorted(set(fields) - known)) if isinstance(fields, dict) else repr(fields)
