"""OpenAI's archives: they say everything by their shapes, off which the towers' configs are read."""

import re
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt

from jaxclip.config import N_PREFIX, TextConfig, VisionConfig
from jaxclip.convert.formats.format import Claim, Towers
from jaxclip.convert.formats.openclip import OPENCLIP
from jaxclip.convert.formats.preprocess import openclip_preprocess
from jaxclip.convert.readers.tensors import CheckpointError, LazyTensor

HEAD_WIDTH = 64  # of every OpenAI tower


def openai_towers(tensors: Mapping[str, LazyTensor]) -> Towers:
    """Read the towers of an OpenAI archive: its activation is always quick_gelu, its text pooled at the highest id.

    Raises:
      CheckpointError: the tensors that say the sizes are missing or have other axes than OpenAI's.
    """
    width, _, patch, _ = _shape(tensors, "visual.conv1.weight", 4)
    n_tokens, _ = _shape(tensors, "visual.positional_embedding", 2)
    _, embed_dim = _shape(tensors, "visual.proj", 2)
    vocab, text_width = _shape(tensors, "token_embedding.weight", 2)
    context, _ = _shape(tensors, "positional_embedding", 2)
    shared = {"embed_dim": embed_dim, "activation": "quick_gelu"}
    size = patch * isqrt(max(n_tokens - N_PREFIX, 0))
    vision = VisionConfig(
        image_size=(size, size),
        patch_size=(patch, patch),
        n_layers=_count(tensors, "visual.transformer.resblocks"),
        mlp_dim=_shape(tensors, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        **_width(width),
        **shared,
    )
    text = TextConfig(
        context=context,
        vocab_size=vocab,
        n_layers=_count(tensors, "transformer.resblocks"),
        mlp_dim=_shape(tensors, "transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        **_width(text_width),
        **shared,
    )
    return Towers(vision, text, None, (), activation_words="OpenAI trained with quick_gelu only")


def _width(width: int) -> dict[str, int]:
    if width % HEAD_WIDTH:
        raise CheckpointError(f"an OpenAI tower has heads of {HEAD_WIDTH}; a width of {width} does not divide by it.")
    return {"width": width, "n_heads": width // HEAD_WIDTH}


def _shape(tensors: Mapping[str, LazyTensor], name: str, rank: int) -> tuple[int, ...]:
    if name not in tensors or len(tensors[name].shape) != rank:
        got = list(tensors[name].shape) if name in tensors else "nothing"
        raise CheckpointError(f"an OpenAI archive must have {name} with {rank} axes; got {got}.")
    return tensors[name].shape


def _count(tensors: Mapping[str, LazyTensor], blocks: str) -> int:
    layers = re.compile(re.escape(blocks) + r"\.(\d+)\.")
    return len({match[1] for name in tensors if (match := layers.match(name))})


SIZES = ("input_resolution", "context_length", "vocab_size")
"""Numbers that an archive holds beside its weights, and that no other file of OpenCLIP's names has."""

OPENAI = replace(
    OPENCLIP,
    name="openai",
    words="a CLIP in OpenAI's archive",
    detects=lambda names: OPENCLIP.detects(names) and names.issuperset(SIZES),
    ignored=(*SIZES, r"(visual\.)?transformer\.resblocks\.\d+\.attn_mask"),
    towers=lambda tensors: Claim(openai_towers(tensors), "files", "the shapes in its OpenAI archive"),
    preprocess=lambda size: Claim(
        openclip_preprocess(None, size)[0], "files", "OpenAI's archives were all trained with this one"
    ),
    scripted=True,
)
