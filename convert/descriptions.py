"""What the files beside a checkpoint's weights say it is, and which of two descriptions counts."""

from collections.abc import Mapping
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

from jaxclip.convert.families import READ, tower_alone
from jaxclip.convert.formats.huggingface import huggingface_towers
from jaxclip.convert.formats.openclip import Towers, openclip_towers
from jaxclip.convert.readers.places import HF_CONFIG, OPENCLIP_CONFIG, Files, Folder, find_preprocessor, read_json
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.convert.rules import Layout
from jaxclip.files.plain import read_bytes
from jaxclip.files.strict_json import parse_json

MOST_MODULES = 2**20  # bytes
FILES = {"openclip": OPENCLIP_CONFIG, "huggingface": HF_CONFIG}
WRITERS = {"openclip": "OpenCLIP", "huggingface": "Hugging Face"}
OTHER_NETWORKS = {
    "vision_model.head.probe": "a SigLIP model, whose image tower ends in an attention pooler",
    "visual.attn_pool.": "a CoCa model, whose image tower ends in an attention pooler",
    "visual.trunk.": "an image tower of timm's (SigLIP, EVA, ConvNeXt, ViTamin, MobileCLIP, PE-Core, ...)",
    "visual.layer1.": "a CLIP with a ResNet as its image tower",
    "text_decoder.": "a BLIP model, which is no CLIP: its text tower reads the image as well",
    "vision_proj.": "a BLIP model, which is no CLIP: its text tower reads the image as well",
    "qformer.": "a BLIP-2 model, which is no CLIP: a language model reads its image tower",
    "language_model.": "a model whose language model reads its image tower, which is no CLIP",
}
"""How names of tensors of other networks begin, and what they are."""


def described_in(home: Files) -> dict[str, dict[str, Any]]:
    """The descriptions of a CLIP in a folder or repository, by the library that each is for.

    A folder may hold both, and then its weights say which counts; of a repository OpenCLIP's counts, as its weights do.
    """
    own = home.find(OPENCLIP_CONFIG)
    config = home.find(HF_CONFIG) if own is None or isinstance(home, Folder) else None
    found = {} if own is None else {"openclip": read_json(own)}
    if config is None:
        return found
    fields = read_json(config)
    if own is None and fields.get("model_type") is None and "architecture" in fields:
        raise CheckpointError(
            f"config.json describes timm's {str(fields['architecture'])[:80]!r}, an image model without a text tower, "
            f"which is not converted; {READ}."
        )
    return found if fields.get("model_type") is None else {**found, "huggingface": fields}


def towers_of(kind: str, fields: Mapping[str, Any]) -> Towers:
    """The towers that a description of one library means.

    Raises:
      CheckpointError: it describes what is not read, by name.
    """
    if kind == "huggingface":
        return huggingface_towers(fields)
    if fields.get("model_cfg") is None:
        raise CheckpointError(f"{OPENCLIP_CONFIG} has no model_cfg; download it again.")
    return openclip_towers(fields["model_cfg"])


def check_no_wrapper(home: Files) -> None:
    """Refuse the folder of a library that keeps a CLIP in a folder of its own within.

    Raises:
      CheckpointError: it is one, with the folder that is meant.
    """
    for name, read in (("modules.json", _sentence_transformers), ("model_index.json", _diffusers)):
        path = home.find(name)
        if path is not None and (sentence := read(path, home)) is not None:
            raise CheckpointError(sentence)


def _sentence_transformers(path: Path, home: Files) -> str | None:
    try:
        modules = parse_json(read_bytes(path, MOST_MODULES))
    except (ValueError, OSError):
        return None
    modules = [module for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    inner = [str(module.get("path")) for module in modules if str(module.get("type")).endswith("CLIPModel")]
    if not inner or inner[0] in ("", "."):
        return None
    if isinstance(home, Folder):
        return f"{home.name} is a sentence-transformers folder; its CLIP is in it: pass {home.path / inner[0][:80]}."
    return (
        f"{home.name} is a sentence-transformers repository; its CLIP is in a folder of it: "
        f"`hf download {home.name} --local-dir FOLDER`, and pass FOLDER/{inner[0][:80]}."
    )


def _diffusers(_path: Path, home: Files) -> str:
    return (
        f"{home.name} holds a pipeline of diffusers, whose parts are single towers and no whole CLIP; convert the CLIP "
        f"that they come from."
    )


def check_network(names: set[str], layout: Layout | None, label: str) -> None:
    """Refuse weights whose names are another network's, or one tower's.

    Raises:
      CheckpointError: what they are.
    """
    for start, what in OTHER_NETWORKS.items():
        if any(name.startswith(start) for name in names):
            raise CheckpointError(f"{label} holds {what}, and is not converted; {READ}.")
    if layout == "huggingface" and not any(name.startswith("text_model.") for name in names):
        parts = ("vision_model", "visual_projection")
        raise CheckpointError(
            tower_alone(f"{label} holds", tuple(part for part in parts if any(name.startswith(part) for name in names)))
        )


def choose(described: Mapping[str, dict[str, Any]], layout: Layout, home: Files | None) -> dict[str, Any]:
    """Fields of a `Source`: of two descriptions that of the library whose names the weights have, the other aside."""
    own = "huggingface" if layout == "huggingface" else "openclip"
    counts = own if own in described else next(iter(described), None)
    if counts is None:
        return {}
    aside = next((fields for kind, fields in described.items() if kind != counts), None)
    images = find_preprocessor(home) if counts == "huggingface" and home is not None else None
    return {counts: described[counts], "preprocessor": images, "aside": aside}


def description_choice(counts: str, layout: Layout, towers: Towers, aside: Mapping[str, Any] | None) -> dict[str, Any]:
    """What to say of the description that was used, where another lies beside it or it is not its weights' own."""
    own = "huggingface" if layout == "huggingface" else "openclip"
    if aside is None:
        if counts == own or layout == "openai":
            return {}
        why = f"its weights have {WRITERS[own]}'s names, but no {FILES[own]} is beside them"
        return {"description": {"value": FILES[counts], "why": why, "other": True}}
    other = next(kind for kind in FILES if kind != counts)
    differs = _differs(towers, other, aside)
    said = f" and says {differs}" if differs else ""
    why = f"its weights have {WRITERS[counts]}'s names; {FILES[other]} beside them is not used{said}"
    return {"description": {"value": FILES[counts], "why": why}}


def _differs(used: Towers, kind: str, aside: Mapping[str, Any]) -> str:
    try:
        other = towers_of(kind, aside)
    except ValueError:
        return "that it is another kind of model"
    found = []
    for part, own, theirs in (("vision", used.vision, other.vision), ("text", used.text, other.text)):
        for field in fields_of(own) if own is not None and theirs is not None else ():
            if field.name not in ("pool", "eos_id") and getattr(own, field.name) != getattr(theirs, field.name):
                found.append(f"{part} {field.name} {getattr(theirs, field.name)}, not {getattr(own, field.name)}")
    return "; ".join(found)
