"""What a checkpoint is: the claims of its tag, its own files and the caller, compared, and never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from jaxclip.config import Activation, ClipConfig, Library, PreprocessConfig
from jaxclip.convert.descriptions import description_claim
from jaxclip.convert.formats import writer_of
from jaxclip.convert.formats.format import Claim, Towers, differences, pair
from jaxclip.convert.formats.openclip import OPENCLIP_CONFIG
from jaxclip.convert.positions import grid_of
from jaxclip.convert.readers.places import read_json
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.convert.registry import Tag, find_tag, model_cfg, named_preprocess
from jaxclip.convert.sources import Source
from jaxclip.files.plain import is_there

RESIZED: dict[Library, str] = {
    "open_clip": "bicubic with antialias, as OpenCLIP does",
    "transformers": "bicubic without antialias, as transformers does",
}

MOST_GROWTH = 64
"""Times as many tokens as a checkpoint has positions for, if only its own description asks for them."""


@dataclass(frozen=True)
class Wishes:
    """The caller's words beside the source; None leaves it to the checkpoint."""

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
        _towers_of(_named_cfg(wishes.model), wishes.activation)
    if isinstance(wishes.preprocess, str):
        named_preprocess(wishes.preprocess, (1, 1))


@dataclass(frozen=True)
class Settled:
    """A checkpoint's configuration, and who decided what.

    Attributes:
      text_cfg: OpenCLIP's description of the text side, where there is one.
      source_grid: the patch grid that the stored position embedding covers; None when only its length is known.
      choices: each decision, by what it is about.
    """

    config: ClipConfig
    text_cfg: Mapping[str, Any] | None
    source_grid: tuple[int, int] | None
    choices: dict[str, Claim[Any]]


def settle(source: Source, wishes: Wishes) -> Settled:
    """Decide what a checkpoint is.

    Raises:
      CheckpointError: two sources of truth disagree, or none says it; either way with what to pass.
    """
    check_wishes(wishes)
    tag = _tag(source, wishes)
    said = _towers(source, wishes, tag)
    _check_activation(said, wishes)
    towers, library = said.value, source.format.library
    prepared = _preprocess(source, wishes, tag, towers.vision.image_size)
    preprocess = prepared.value if _says_library(wishes.preprocess) else replace(prepared.value, library=library)
    name = _architecture(source, wishes, tag)
    choices: dict[str, Claim[Any]] = {
        "architecture": replace(said, value=name),
        "activation": _activation(said, wishes, tag),
        "preprocess": replace(prepared, value=f"{preprocess.interpolation}, {preprocess.resize_mode}"),
    }
    if tag is None and source.description is not None and source.tensors:
        claim = description_claim(source.description, towers, source.format, source.aside)
        choices |= {"description": claim} if claim is not None else {}
    if towers.defaults and tag is None:
        words = "absent from its files; the format defines these values"
        choices["defaults"] = Claim(list(towers.defaults), "files", words)
    described = towers.vision
    if wishes.image_size is not None:
        size = pair(list(wishes.image_size) if isinstance(wishes.image_size, tuple) else wishes.image_size)
        towers = replace(towers, vision=replace(described, image_size=size))
        preprocess = replace(preprocess, size=size)
        choices["image_size"] = Claim(list(size), "caller", "passed as image_size")
    else:
        _check_size(source, said)
    grid = described.grid if _stored_tokens(source) == described.n_tokens else None
    if grid != towers.vision.grid:
        words = f"the stored one covers {grid or 'another grid'}; {RESIZED[library]}"
        choices["position_embedding"] = Claim(f"resized to {towers.vision.grid}", "files", words)
    return Settled(towers.config(name, preprocess), towers.text_cfg, grid, choices)


def _check_size(source: Source, claim: Claim[Towers]) -> None:
    """Refuse weights that have no positions for the size that is said of them, until the caller says which is meant.

    OpenCLIP's own format says that positions are resized, and they are, within bounds.
    """
    said = claim.value.vision
    n = _stored_tokens(source) or said.n_tokens
    if said.n_tokens > MOST_GROWTH * n:
        raise CheckpointError(
            f"{claim.words} says images of {list(said.image_size)} pixels, {said.n_tokens} tokens, and its positions "
            f"are for {n}; pass image_size={_as_passed(said.image_size)} if that is meant."
        )
    resizes = source.tag is not None or (source.description is not None and source.description.writer.resizes)
    patches = source.tensors.get(source.format.vision.source_of("patch_embedding"))
    trained = grid_of(n)
    if resizes or trained in (None, said.grid) or patches is None or patches.shape[2:] != said.patch_size:
        return
    own = trained[0] * said.patch_size[0], trained[1] * said.patch_size[1]
    raise CheckpointError(
        f"{claim.words} says images of {list(said.image_size)} pixels, and {source.label} has positions for "
        f"{list(own)}; pass image_size={_as_passed(own)} to run it as it was trained, or "
        f"image_size={_as_passed(said.image_size)} to resize its positions."
    )


def _as_passed(size: tuple[int, int]) -> int | tuple[int, int]:
    """Write height and width in the shortest way that `image_size` takes."""
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


def _towers(source: Source, wishes: Wishes, tag: Tag | None) -> Claim[Towers]:
    own = _own_towers(source)
    if tag is not None:
        said = Claim(_towers_of(model_cfg(tag.model), tag.activation), "tag", f"the tag {tag.name}")
        if own is not None:
            _check_agree(said, own, compare_all=source.tag is None)
        return said
    if wishes.model is not None:
        cfg, words = _named_cfg(wishes.model), f"model={wishes.model!r}"
        if own is not None:
            named = Claim(_towers_of(cfg, own.value.vision.activation), "caller", words)
            _check_agree(named, own, compare_all=True)
            return own
        known = "quick_gelu" if cfg.get("quick_gelu") else wishes.activation
        if known is None:
            raise CheckpointError(
                f"{source.label} does not say its activation and {wishes.model} exists with both; pass "
                f"activation='gelu' or 'quick_gelu', or like='{wishes.model}/TAG' for everything from a tag."
            )
        return Claim(_towers_of(cfg, known), "caller", words)
    if own is None:
        raise CheckpointError(
            f"{source.label} holds weights but no configuration; pass like='ViT-B-16/laion2b_s34b_b88k' (its own model "
            f"and tag) to take everything from a tag, or model=, activation= and preprocess=; or pass a folder with "
            f"these weights and the configuration of what they were tuned from."
        )
    return own


def _named_cfg(model: str) -> Mapping[str, Any]:
    """Look up the `model_cfg` of a name, or of a JSON file in OpenCLIP's format."""
    if not model.endswith(".json"):
        return model_cfg(model)
    if not is_there(model):
        raise FileNotFoundError(f"model={model!r}: there is no such file.")
    fields = read_json(Path(model))
    return fields if fields.get("model_cfg") is None else fields["model_cfg"]


def _towers_of(cfg: Any, activation: Activation | None) -> Towers:
    """Read the towers of a `model_cfg` of OpenCLIP's registry, with the activation that a tag or the caller says."""
    fields = {"model_cfg": cfg}
    writer = writer_of(OPENCLIP_CONFIG, fields)
    assert writer is not None, "every description of OpenCLIP's is claimed"
    return writer.towers(fields, activation)


def _own_towers(source: Source) -> Claim[Towers] | None:
    if source.description is not None:
        return Claim(source.description.towers(), "files", f"its {source.description.writer.file}")
    return source.format.towers(source.tensors) if source.format.towers is not None else None


def _check_agree(said: Claim[Towers], own: Claim[Towers], *, compare_all: bool) -> None:
    wanted, found = said.value.vision.activation, own.value.vision.activation
    if wanted != found:
        raise CheckpointError(
            f"{said.words} needs {wanted}; {own.words} says {found}. Correct the file, or pass the tag that these "
            f"weights come from as like=..."
        )
    if not compare_all:
        return
    for where, ours, theirs in differences(said.value, own.value):
        raise CheckpointError(f"{said.words} has {where} {ours}, but {own.words} says {theirs}.")


def _check_activation(said: Claim[Towers], wishes: Wishes) -> None:
    activation = said.value.vision.activation
    if wishes.activation not in (None, activation):
        raise CheckpointError(
            f"{said.words} needs {activation}; activation={wishes.activation!r} was passed. Leave it out."
        )


def _activation(said: Claim[Towers], wishes: Wishes, tag: Tag | None) -> Claim[Activation]:
    """Say who decided the activation, where it is not who described the towers."""
    value, more = said.value.vision.activation, said.value.activation_words
    if tag is not None and not model_cfg(tag.model).get("quick_gelu") and value == "quick_gelu":
        more = "the plain model config says gelu, but these weights were trained with quick_gelu"
    if said.source == "caller" and wishes.model is not None and not _named_cfg(wishes.model).get("quick_gelu"):
        return Claim(value, "caller", f"passed as activation={wishes.activation!r}")
    return Claim(value, said.source, f"{said.words}; {more}" if more else said.words)


def _preprocess(source: Source, wishes: Wishes, tag: Tag | None, size: tuple[int, int]) -> Claim[PreprocessConfig]:
    if wishes.preprocess is not None:
        return Claim(_passed_preprocess(wishes.preprocess, size), "caller", "passed as preprocess")
    if tag is not None:
        return Claim(named_preprocess(tag.preprocess, size), "tag", f"the tag {tag.name}")
    used = source.description
    said = None if used is None else used.writer.preprocess(used.images, size)
    if said is None and source.format.preprocess is not None:
        said = source.format.preprocess(size)
    if said is None:
        raise CheckpointError(
            f"{source.label} does not say how its images were prepared; pass like='MODEL/TAG', or preprocess= with a "
            f"PreprocessConfig or a style such as 'openai-bicubic-shortest'."
        )
    return said


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
    tensor = source.tensors.get(source.format.vision.source_of("positional_embedding"))
    return tensor.shape[0] if tensor is not None and tensor.shape else None
