"""OpenCLIP's native models and pretrained tags, looked up by name. The facts are in models.json."""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jaxclip.config import Activation, PreprocessConfig
from jaxclip.convert.families import WHY, family_in, refusal
from jaxclip.convert.readers.tensors import CheckpointError

TWIN = "-quickgelu"
# open_clip's registry sends this tag to the repository of laion400m_e31, so the hub cannot give these weights.
MISLABELLED = {("ViT-B-16-plus-240", "laion400m_e32")}


@dataclass(frozen=True)
class Tag:
    """A set of pretrained weights: where it is and what it was trained with."""

    model: str
    tag: str
    repository: str
    activation: Activation
    preprocess: str
    url: str | None = None

    @property
    def name(self) -> str:
        return f"{self.model}/{self.tag}"


@cache
def _tables() -> dict[str, Any]:
    return json.loads(files(str(__package__)).joinpath("models.json").read_text(encoding="utf-8"))


def model_names() -> list[str]:
    """List every native model that has a name."""
    return sorted(_tables()["models"])


def model_cfg(name: str) -> dict[str, Any]:
    """Look up the OpenCLIP `model_cfg` of a name.

    Raises:
      CheckpointError: no such native model, with its family or the closest names.
    """
    models = _tables()["models"]
    if name not in models:
        check_other(name)
        raise CheckpointError(f"{name!r} is not a native OpenCLIP ViT{_closest(name, models)}.")
    return models[name]["model_cfg"]


@cache
def _others() -> dict[str, str]:
    """List the families of OpenCLIP's models that are not read, by name."""
    found = {name: family for family, names in _tables()["others"].items() for name in names}
    coca = {name: "CoCa" for name, entry in _tables()["models"].items() if "multimodal_cfg" in entry["model_cfg"]}
    return found | coca


def check_other(name: str) -> None:
    """Refuse the name of a model of OpenCLIP's that is not read, however it is written.

    Raises:
      CheckpointError: it is one, with its family.
    """
    by_letters = {_letters(other): other for other in _others()}
    if (other := by_letters.get(_letters(name))) is not None:
        family = _others()[other]
        raise CheckpointError(refusal(f"{name!r} is not a native OpenCLIP ViT: it", family))


def same_name(name: str) -> str | None:
    """Find the model, or model with a tag, that `name` is but for case and punctuation, as OpenAI's own ViT-B/32."""
    return _by_letters().get(_letters(name))


def near_names(name: str) -> list[str]:
    """List models, or models with a tag, that may be meant by `name`, the closest first."""
    found = _near(name, _by_letters().values()) or _near(name.partition("/")[0], model_names())
    return [near for near in found if near.partition("/")[0] not in _others()]


@cache
def _by_letters() -> dict[str, str]:
    whole = [*model_names(), *(tag.name for model in model_names() for tag in tags(model).values())]
    return {_letters(name): name for name in whole}


def check_spelling(name: str, bare: str) -> None:
    """Refuse an OpenCLIP name with other punctuation or `hf-hub:` before it, which no repository has.

    Raises:
      FileNotFoundError, CheckpointError: it is one, with OpenCLIP's own spelling or its family.
    """
    known = same_name(bare) or same_name("/".join(reversed(bare.split("/"))))
    if known is not None:
        check_other(known.partition("/")[0])
        raise FileNotFoundError(f"there is no file or folder {name}; OpenCLIP's name is {known}, so write that.")


def meant(name: str) -> str:
    """Write the hint for a name that leads nowhere: the family it sounds like, or the closest names that are read."""
    if (family := family_in(name)) is not None:
        return f" ({family} models, if one is meant, are not converted: {WHY[family]})"
    near = near_names(name)
    return f"; the closest names are {', '.join(near)}" if near else ""


def _letters(name: str) -> str:
    """Strip a name of case and punctuation, which libraries write differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _near(name: str, known: Iterable[str], cutoff: float = 0.75) -> list[str]:
    by_letters = {_letters(other): other for other in known}
    exact = by_letters.get(_letters(name))
    if exact is not None:
        return [exact]
    return [by_letters[near] for near in difflib.get_close_matches(_letters(name), by_letters, n=3, cutoff=cutoff)]


def tags(model: str) -> dict[str, Tag]:
    """List the pretrained tags of a model. A `-quickgelu` twin has the tags of its plain name that were trained so."""
    plain = model.removesuffix(TWIN)
    found = {tag: Tag(model, tag, **fields) for tag, fields in _tables()["tags"].get(plain, {}).items()}
    return {tag: entry for tag, entry in found.items() if model == plain or entry.activation == "quick_gelu"}


@cache
def tokenizer_names() -> frozenset[str]:
    """List the hub's tokenizers that OpenCLIP's native models name."""
    texts = (entry["model_cfg"].get("text_cfg", {}) for entry in _tables()["models"].values())
    return frozenset(name for text in texts if (name := text.get("hf_tokenizer_name")))


def find_tag(model: str, tag: str) -> Tag:
    """Look up the entry of `model/tag`; case and `-` for `_` in the tag do not matter.

    Raises:
      CheckpointError: the model has no such tag, naming those it has.
    """
    model_cfg(model)
    cleaned, known = tag.lower().replace("-", "_"), tags(model)
    if cleaned in known:
        return known[cleaned]
    if cleaned in tags(model.removesuffix(TWIN)):
        plain = model.removesuffix(TWIN)
        raise CheckpointError(f"{plain}/{cleaned} was trained with gelu, not quick_gelu. Use {plain}/{cleaned}.")
    listed = f"its tags are {', '.join(known)}" if known else "it has no pretrained weights"
    raise CheckpointError(f"{model} has no tag {tag!r}{_closest(cleaned, known)}; {listed}.")


def named_preprocess(style: str, size: tuple[int, int]) -> PreprocessConfig:
    """Look up a preprocessing style of the table, for images of `size` (height, width).

    Raises:
      CheckpointError: no such style, naming those there are.
    """
    styles = _tables()["preprocess"]
    if style not in styles:
        raise CheckpointError(f"preprocess={style!r} is not known; use one of {', '.join(styles)}.")
    fields = dict(styles[style])
    return PreprocessConfig(size=size, mean=tuple(fields.pop("mean")), std=tuple(fields.pop("std")), **fields)


def _closest(name: str, known: Any) -> str:
    near = _near(name, known, cutoff=0.5)
    return f"; the closest are {', '.join(near)}" if near else ""
