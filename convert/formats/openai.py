"""OpenAI's archives say everything by their shapes: the towers' configs are read off the tensors."""

import re
from collections.abc import Mapping
from math import isqrt

from jaxclip.config import N_PREFIX, TextConfig, VisionConfig
from jaxclip.convert.formats.openclip import Towers
from jaxclip.convert.readers.tensors import CheckpointError, LazyTensor

HEAD_WIDTH = 64  # of every OpenAI tower


def openai_towers(tensors: Mapping[str, LazyTensor]) -> Towers:
    """Towers of an OpenAI archive. That format has one activation, quick_gelu, and pools text at the highest id.

    Raises:
      CheckpointError: the tensors that say the sizes are missing or have other axes than OpenAI's.
    """
    width, _, patch, _ = _shape(tensors, "visual.conv1.weight", 4)
    n_tokens, _ = _shape(tensors, "visual.positional_embedding", 2)
    _, embed_dim = _shape(tensors, "visual.proj", 2)
    vocab, text_width = _shape(tensors, "token_embedding.weight", 2)
    context, _ = _shape(tensors, "positional_embedding", 2)
    shared = {"embed_dim": embed_dim, "activation": "quick_gelu"}
    vision = VisionConfig(
        image_size=(patch * isqrt(max(n_tokens - N_PREFIX, 0)),) * 2,
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
    return Towers(vision, text, None, ())


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
