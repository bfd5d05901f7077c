"""What a checkpoint is, settled from its tag, its own files or the caller's words, and never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from jaxclip.config import Activation, ClipConfig, Library, PreprocessConfig, VisionConfig
from jaxclip.convert.descriptions import description_choice, towers_of
from jaxclip.convert.formats.openai import openai_towers
from jaxclip.convert.formats.openclip import Towers, differences, openclip_towers, pair
from jaxclip.convert.formats.preprocess import huggingface_preprocess, openclip_preprocess
from jaxclip.convert.positions import grid_of
from jaxclip.convert.readers.places import HF_CONFIG, OPENCLIP_CONFIG, read_json
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.convert.registry import Tag, find_tag, model_cfg, named_preprocess
from jaxclip.convert.sources import Source
from jaxclip.files.plain import is_there

POSITIONS = {
    "huggingface": "vision_model.embeddings.position_embedding.weight",
    "openclip": "visual.positional_embedding",
}
PATCHES = ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight")

RESIZED: dict[Library, str] = {
    "open_clip": "bicubic with antialias, as OpenCLIP does",
    "transformers": "bicubic without antialias, as transformers does",
}

MOST_GROWTH = 64
"""Times as many tokens as a checkpoint has positions for, if only its own description asks for them."""


@dataclass(frozen=True)
class Wishes:
    """What the caller said beside the source; None leaves it to the checkpoint."""

    like: str | None = None
    model: str | None = None
    activation: Activation | None = None
    preprocess: PreprocessConfig | Mapping[str, Any] | str | None = None
    image_size: int | tuple[int, int] | None = None


def check_wishes(wishes: Wishes) -> None:
    """Refuse words that no checkpoint could make sense of, before one is opened.

    Raises:
      CheckpointError, FileNotFoundError: as in `settle`.
    """
    if wishes.activation is not None and wishes.activation not in get_args(Activation):
        known = ", ".join(get_args(Activation))
        raise CheckpointError(f"activation={wishes.activation!r} is not known; use one of {known}.")
    _liked(wishes)
    if wishes.model is not None:
        openclip_towers(_named_cfg(wishes.model), wishes.activation)
    if isinstance(wishes.preprocess, str):
        named_preprocess(wishes.preprocess, (1, 1))


@dataclass(frozen=True)
class Settled:
    """`text_cfg` is OpenCLIP's description of the text side, where there is one. `source_grid` is the patch grid that
    the stored position embedding covers, None when only its length is known. `choices` says each decision and why."""

    config: ClipConfig
    text_cfg: Mapping[str, Any] | None
    source_grid: tuple[int, int] | None
    choices: dict[str, dict[str, Any]]


def settle(source: Source, wishes: Wishes) -> Settled:
    """Decide what a checkpoint is.

    Raises:
      CheckpointError: two sources of truth disagree, or none says it; either way with what to pass.
    """
    check_wishes(wishes)
    tag = _tag(source, wishes)
    towers, why, text_cfg = _towers(source, wishes, tag)
    _check_activation(towers, why, wishes)
    preprocess, preprocess_why = _preprocess(source, wishes, tag, towers)
    if not _says_library(wishes.preprocess):
        preprocess = replace(preprocess, library=library_of(source))
    base = towers.vision
    choices: dict[str, dict[str, Any]] = {
        "architecture": {"value": _architecture(source, wishes, tag), "why": why},
        "activation": {"value": base.activation, "why": _activation_why(wishes, tag, why)},
        "preprocess": {"value": f"{preprocess.interpolation}, {preprocess.resize_mode}", "why": preprocess_why},
    }
    if tag is None and (source.openclip is not None or source.huggingface is not None) and source.tensors:
        counts = "openclip" if source.openclip is not None else "huggingface"
        choices |= description_choice(counts, source.layout, towers, source.aside)
    defaults = [word for word in towers.defaults if tag is None]
    if defaults:
        choices["defaults"] = {"value": defaults, "why": "absent from its files; the format defines these values"}
    if wishes.image_size is not None:
        size = pair(list(wishes.image_size) if isinstance(wishes.image_size, tuple) else wishes.image_size)
        towers = replace(towers, vision=replace(base, image_size=size))
        preprocess = replace(preprocess, size=size)
        choices["image_size"] = {"value": list(size), "why": "passed as image_size"}
    else:
        _check_size(source, base, why)
    grid = base.grid if _stored_tokens(source) == base.n_tokens else None
    if grid != towers.vision.grid:
        choices["position_embedding"] = {
            "value": f"resized to {towers.vision.grid}",
            "why": f"the stored one covers {grid or 'another grid'}; {RESIZED[library_of(source)]}",
        }
    return Settled(towers.config(_architecture(source, wishes, tag), preprocess), text_cfg, grid, choices)


def _check_size(source: Source, said: VisionConfig, why: str) -> None:
    """Weights must have positions for the size that is said of them, or somebody must say which of the two is meant.

    OpenCLIP's own format says that positions are resized, and they are, within bounds.
    """
    n = _stored_tokens(source) or said.n_tokens
    if said.n_tokens > MOST_GROWTH * n:
        raise CheckpointError(
            f"{why} says images of {list(said.image_size)} pixels, {said.n_tokens} tokens, and its positions are for "
            f"{n}; pass image_size={_as_passed(said.image_size)} if that is meant."
        )
    patches = [tensor.shape[2:] for name in PATCHES if (tensor := source.tensors.get(name)) is not None]
    resizes = source.tag is not None or source.openclip is not None
    trained = grid_of(n)
    if resizes or trained is None or trained == said.grid or patches != [said.patch_size]:
        return
    own = trained[0] * said.patch_size[0], trained[1] * said.patch_size[1]
    raise CheckpointError(
        f"{why} says images of {list(said.image_size)} pixels, and {source.label} has positions for {list(own)}; pass "
        f"image_size={_as_passed(own)} to run it as it was trained, or image_size={_as_passed(said.image_size)} to "
        f"resize its positions."
    )


def _as_passed(size: tuple[int, int]) -> int | tuple[int, int]:
    """Height and width in the shortest way that `image_size` takes."""
    return size[0] if size[0] == size[1] else size


def _tag(source: Source, wishes: Wishes) -> Tag | None:
    tag = _liked(wishes)
    if tag is None:
        return source.tag
    if source.tag is not None and source.tag != tag:
        raise CheckpointError(f"{source.label} is {source.tag.name}, which like={wishes.like!r} contradicts.")
    return tag


def _liked(wishes: Wishes) -> Tag | None:
    if wishes.like is None:
        return None
    model, slash, name = wishes.like.partition("/")
    if not slash:
        raise CheckpointError(f"like={wishes.like!r} must name a model and a tag, such as ViT-B-16/laion2b_s34b_b88k.")
    if wishes.model is not None:
        raise CheckpointError("pass like=... or model=..., not both: a tag says its model already.")
    return find_tag(model, name)


def _towers(source: Source, wishes: Wishes, tag: Tag | None) -> tuple[Towers, str, Mapping[str, Any] | None]:
    own, own_why, own_text = _own_towers(source)
    if tag is not None:
        cfg = model_cfg(tag.model)
        towers = openclip_towers(cfg, tag.activation)
        if own is not None:
            _check_agree(towers, f"the tag {tag.name}", own, own_why, compare_all=source.tag is None)
        return towers, f"the tag {tag.name}", cfg["text_cfg"]
    if wishes.model is not None:
        cfg = _named_cfg(wishes.model)
        if own is not None:
            named = openclip_towers(cfg, own.vision.activation)
            _check_agree(named, f"model={wishes.model!r}", own, own_why, compare_all=True)
            return own, own_why, own_text
        known = "quick_gelu" if cfg.get("quick_gelu") else wishes.activation
        if known is None:
            raise CheckpointError(
                f"{source.label} does not say its activation and {wishes.model} exists with both; pass "
                f"activation='gelu' or 'quick_gelu', or like='{wishes.model}/TAG' for everything from a tag."
            )
        return openclip_towers(cfg, known), f"model={wishes.model!r}", cfg["text_cfg"]
    if own is None:
        raise CheckpointError(
            f"{source.label} holds weights but no configuration; pass like='ViT-B-16/laion2b_s34b_b88k' (its own model "
            f"and tag) to take everything from a tag, or model=, activation= and preprocess=; or pass a folder with "
            f"these weights and the configuration of what they were tuned from."
        )
    return own, own_why, own_text


def _named_cfg(model: str) -> Mapping[str, Any]:
    """The `model_cfg` of a name, or of a JSON file in OpenCLIP's format."""
    if not model.endswith(".json"):
        return model_cfg(model)
    if not is_there(model):
        raise FileNotFoundError(f"model={model!r}: there is no such file.")
    fields = read_json(Path(model))
    return fields.get("model_cfg", fields)


def _own_towers(source: Source) -> tuple[Towers | None, str, Mapping[str, Any] | None]:
    if source.openclip is not None:
        towers = towers_of("openclip", source.openclip)
        return towers, f"its {OPENCLIP_CONFIG}", source.openclip["model_cfg"]["text_cfg"]
    if source.huggingface is not None:
        return towers_of("huggingface", source.huggingface), f"its {HF_CONFIG}", None
    if source.layout == "openai":
        return openai_towers(source.tensors), "the shapes in its OpenAI archive", None
    return None, "", None


def _check_agree(said: Towers, who: str, own: Towers, own_why: str, *, compare_all: bool) -> None:
    if said.vision.activation != own.vision.activation:
        raise CheckpointError(
            f"{who} needs {said.vision.activation}; {own_why} says {own.vision.activation}. Correct the file, or pass "
            f"the tag that these weights come from as like=..."
        )
    if not compare_all:
        return
    for where, ours, theirs in differences(said, own):
        raise CheckpointError(f"{who} has {where} {ours}, but {own_why} says {theirs}.")


def _check_activation(towers: Towers, why: str, wishes: Wishes) -> None:
    if wishes.activation not in (None, towers.vision.activation):
        raise CheckpointError(
            f"{why} needs {towers.vision.activation}; activation={wishes.activation!r} was passed. Leave it out."
        )


def _activation_why(wishes: Wishes, tag: Tag | None, why: str) -> str:
    if tag is not None and not model_cfg(tag.model).get("quick_gelu") and tag.activation == "quick_gelu":
        return f"{why}; the plain model config says gelu, but these weights were trained with quick_gelu"
    if why.startswith("model=") and wishes.model is not None and not _named_cfg(wishes.model).get("quick_gelu"):
        return f"passed as activation={wishes.activation!r}"
    return f"{why}; OpenAI trained with quick_gelu only" if "OpenAI archive" in why else why


def _preprocess(source: Source, wishes: Wishes, tag: Tag | None, towers: Towers) -> tuple[PreprocessConfig, str]:
    size = towers.vision.image_size
    passed = wishes.preprocess
    if passed is not None:
        return _passed_preprocess(passed, size), "passed as preprocess"
    if tag is not None:
        return named_preprocess(tag.preprocess, size), f"the tag {tag.name}"
    if source.openclip is not None:
        found, defaults = openclip_preprocess(source.openclip.get("preprocess_cfg"), size)
        by_rule = f"; by OpenCLIP's format where absent: {', '.join(defaults)}" if defaults else ""
        return found, f"its open_clip_config.json{by_rule}"
    if source.preprocessor is not None:
        return huggingface_preprocess(
            source.preprocessor, size
        ), "its preprocessor_config.json, as transformers reads it"
    if source.layout == "openai":
        return openclip_preprocess(None, size)[0], "OpenAI's archives were all trained with this one"
    raise CheckpointError(
        f"{source.label} does not say how its images were prepared; pass like='MODEL/TAG', or preprocess= with a "
        f"PreprocessConfig or a style such as 'openai-bicubic-shortest'."
    )


def library_of(source: Source) -> Library:
    """Whose habits a checkpoint was made for: those of the library whose names its weights have, whatever describes it.

    A description says sizes, filters and means, which both libraries share; it may be another library's, lying beside.
    """
    return "transformers" if source.layout == "huggingface" else "open_clip"


def _says_library(passed: PreprocessConfig | Mapping[str, Any] | str | None) -> bool:
    return isinstance(passed, PreprocessConfig) or (isinstance(passed, Mapping) and "library" in passed)


def _passed_preprocess(passed: PreprocessConfig | Mapping[str, Any] | str, size: tuple[int, int]) -> PreprocessConfig:
    if isinstance(passed, str):
        return named_preprocess(passed, size)
    if isinstance(passed, Mapping):
        try:
            passed = PreprocessConfig(**{"size": size, **passed})
        except TypeError as error:
            raise CheckpointError(f"preprocess={dict(passed)!r} is no PreprocessConfig: {error}.") from error
    if passed.size != size:
        raise CheckpointError(
            f"preprocess has size {passed.size}, but the tower takes {size}; pass image_size= as well."
        )
    return passed


def _architecture(source: Source, wishes: Wishes, tag: Tag | None) -> str:
    if tag is not None:
        return tag.name
    path = Path(source.label)
    return wishes.model or (path.resolve().name if path.exists() else source.label)


def _stored_tokens(source: Source) -> int | None:
    tensor = source.tensors.get(POSITIONS["huggingface" if source.layout == "huggingface" else "openclip"])
    return tensor.shape[0] if tensor is not None and tensor.shape else None
