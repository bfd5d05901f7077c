"""Models that are not read, by what they say they are and how their tensors are called, and what to do about each."""

import re
from collections.abc import Mapping
from typing import Any

from jaxclip.convert.readers.tensors import CheckpointError

READ = "a CLIP whose image tower is OpenCLIP's own ViT, such as ViT-B-16/laion2b_s34b_b88k, can be"
MARKS = {
    "siglip": "SigLIP", "mobileclip": "MobileCLIP", "fastvit": "MobileCLIP", "_mci": "MobileCLIP", "eva0": "EVA",
    "eva_": "EVA", "vit_pe_": "PE-Core", "vitamin": "ViTamin", "convnext": "ConvNeXt", "swin": "Swin",
    "resnet": "ResNet", "naflex": "NaFlex",
}  # fmt: skip
"""What an OpenCLIP name, or the timm name of its image tower, holds, and the family it tells."""
SOUNDS = {
    "SigLIP": r"\w*siglip", "CoCa": r"coca(?![a-z])", "EVA": r"eva([-_]clip|0\d)", "PE-Core": r"pe[-_]?core",
    "ViTamin": r"vitamin", "MobileCLIP": r"mobileclip", "ConvNeXt": r"convnext", "ResNet": r"(rn|resnet)[-_]?\d",
    "Swin": r"swin[-_]",
}  # fmt: skip
"""How names of a family sound, wherever they stand."""
WHY = {
    "SigLIP": "its image tower ends in an attention pooler with an MLP",
    "CoCa": "its image tower ends in an attention pooler",
    "EVA": "its image tower is timm's, with rotary positions or gates",
    "PE-Core": "its image tower has rotary positions and an attention pooler",
    "ViTamin": "its image tower is half a convolutional network",
    "MobileCLIP": "its image tower is timm's, in most sizes a convolutional network",
    "ConvNeXt": "its image tower is a convolutional network",
    "ResNet": "its image tower is a convolutional network",
    "Swin": "its image tower attends within windows that shift",
    "NaFlex": "its image tower takes grids of any shape",
    "GenLIP": "it is one network that writes captions",
    "CLAP": "it takes sound, not images",
    "timm": "its image tower is timm's, which names and ends it otherwise",
}
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
NAMED_OTHERWISE = "its image tower is a CLIP's ViT under other names, which this version does not know"
MODEL_TYPES = {
    "siglip": ("SigLIP", WHY["SigLIP"]),
    "siglip2": ("SigLIP 2", WHY["SigLIP"]),
    "blip": ("BLIP", "it is no CLIP: its text tower reads the image as well"),
    "blip-2": ("BLIP-2", "it is no CLIP: a language model reads its image tower"),
    "instructblip": ("InstructBLIP", "it is no CLIP: a language model reads its image tower"),
    "llava": ("LLaVA", "it is no CLIP: a language model reads its image tower"),
    "altclip": ("AltCLIP", NAMED_OTHERWISE),
    "chinese_clip": ("Chinese CLIP", NAMED_OTHERWISE),
    "clipseg": ("CLIPSeg", NAMED_OTHERWISE),
    "owlvit": ("OWL-ViT", NAMED_OTHERWISE),
    "owlv2": ("OWLv2", NAMED_OTHERWISE),
    "xclip": ("X-CLIP", "it takes videos, not images"),
    "clap": ("CLAP", WHY["CLAP"]),
    "align": ("ALIGN", WHY["ConvNeXt"]),
    "groupvit": ("GroupViT", "its image tower groups its tokens between blocks"),
    "flava": ("FLAVA", "it is no CLIP: a third tower reads images and texts together"),
    "bridgetower": ("BridgeTower", "it is no CLIP: its towers read each other"),
    "vision-text-dual-encoder": ("VisionTextDualEncoder", "its two towers may be any two models"),
    "dinov2": ("DINOv2", "it has no text tower"),
    "dinov3_vit": ("DINOv3", "it has no text tower"),
    "vit": ("ViT", "it has no text tower"),
    "clip_text_model": ("CLIPTextModel", "it has no image tower"),
}
"""transformers' `model_type` of neighbours of CLIP: what each is called, and why it is not read."""


def family_of(model_cfg: Mapping[str, Any], name: str = "") -> str | None:
    """Tell the family of an OpenCLIP `model_cfg` that is not read; None for a native ViT."""
    vision = model_cfg.get("vision_cfg")
    if "genlip_cfg" in model_cfg:
        return "GenLIP"
    if not isinstance(vision, Mapping):
        return "CLAP" if any(key.endswith(("audio_cfg", "audio_naflex_cfg")) for key in model_cfg) else None
    if isinstance(vision.get("layers"), list):
        return "ResNet"
    if "timm_model_name" not in vision:
        return "CoCa" if model_cfg.get("multimodal_cfg") else None
    tower = f"{vision['timm_model_name']} {name}".lower()
    return next((family for mark, family in MARKS.items() if mark in tower), "timm")


def family_in(name: str) -> str | None:
    """Guess the family that a name sounds like; only a hint, since folders may be called anything."""
    return next((family for family, words in SOUNDS.items() if re.search(rf"(?<![a-z])({words})", name.lower())), None)


def refusal(name: str, family: str) -> str:
    """Write the sentence that refuses a model of a family."""
    article = "an" if family[0] in "AEIOU" else "a"
    called = "has a timm image tower" if family == "timm" else f"is {article} {family} model"
    return f"{name} {called}, and is not converted: {WHY[family]}; {READ}."


def check_network(names: set[str], label: str) -> None:
    """Refuse weights whose names are another network's.

    Raises:
      CheckpointError: what they are.
    """
    for start, what in OTHER_NETWORKS.items():
        if any(name.startswith(start) for name in names):
            raise CheckpointError(f"{label} holds {what}, and is not converted; {READ}.")


def check_unclaimed(fields: Mapping[str, Any]) -> None:
    """Refuse timm's `config.json`, which no family claims; any other is taken for no description at all.

    Raises:
      CheckpointError: it is timm's, with the architecture.
    """
    if "architecture" in fields:
        raise CheckpointError(
            f"config.json describes timm's {str(fields['architecture'])[:80]!r}, an image model without a text tower, "
            f"which is not converted; {READ}."
        )


def check_model_type(fields: Mapping[str, Any]) -> None:
    """Refuse a `config.json` that is not a `CLIPModel`'s, before its weights are fetched or opened.

    Raises:
      CheckpointError: another model or a quantised one, by what it is called, with what to do.
    """
    kind = fields.get("model_type") if isinstance(fields.get("model_type"), str) else None
    if kind == "metaclip_2":
        raise CheckpointError(
            "config.json describes MetaCLIP 2, whose tokenizer and end of text are its own; its folders are not "
            "converted, but OpenCLIP's copies of the same weights are: ViT-H-14-worldwide/metaclip2_worldwide, "
            "ViT-H-14-worldwide-378/metaclip2_worldwide, ViT-bigG-14-worldwide/metaclip2_worldwide and "
            "ViT-bigG-14-worldwide-378/metaclip2_worldwide."
        )
    if kind == "clip_vision_model":
        projected = "Projection" in str(fields.get("architectures"))
        raise CheckpointError(
            tower_alone("config.json describes", ("vision_model", "visual_projection")[: 1 + projected])
        )
    base = next((known for known in (str(kind), str(kind).removesuffix("_vision_model")) if known in MODEL_TYPES), None)
    if base is not None:
        called, why = MODEL_TYPES[base]
        raise CheckpointError(
            f"config.json describes {called} (model_type {kind!r}), and it is not converted: {why}; {READ}."
        )
    if kind != "clip":
        raise CheckpointError(
            f"config.json describes a {fields.get('model_type')!r:.80} model; only model_type 'clip' can be converted. "
            f"If its weights are a CLIP's all the same, move their file out of this folder and pass like= or model=."
        )
    if quantised := fields.get("quantization_config"):
        how = str(quantised.get("quant_method") if isinstance(quantised, Mapping) else quantised)[:80]
        raise CheckpointError(
            f"config.json says that its weights are quantised ({how}); convert the weights from before, in float32, "
            f"bfloat16 or float16."
        )


def tower_alone(who: str, parts: tuple[str, ...]) -> str:
    """Write the sentence that says where an image tower of transformers goes."""
    steps = ", ".join(f"clip.{part}.load_state_dict(tower.{part}.state_dict())" for part in parts)
    return (
        f"{who} an image tower without its text tower; put it into the CLIPModel that it comes from, which has both: "
        f"{steps}, clip.save_pretrained(FOLDER)."
    )
