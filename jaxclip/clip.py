"""A checkpoint as one object: both towers, its tokenizer and its preprocessing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxclip import preprocess as pictures
from jaxclip.axes import AnyArray
from jaxclip.config import ClipConfig, Compute
from jaxclip.files.plain import expanded
from jaxclip.model.params import flatten
from jaxclip.model.text import TextTransformer
from jaxclip.model.vision import VisionTransformer
from jaxclip.numerics.arrays import counted
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.tokenizer import Tokenizer


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("vision", "text", "logit_scale", "logit_bias"), meta_fields=("config", "tokenizer"),
    drop_fields=("source",),
)  # fmt: skip
@dataclass(frozen=True)
class Clip:
    """Both towers of a checkpoint with everything needed to feed them. A pytree: its leaves are the weights.

    `vision` and `text` are Flax modules; `text` is None where the checkpoint's text tower is not CLIP's own (its
    `config.text_missing` says which). `logit_scale` is the logarithm of the inverse temperature, as stored. `source` is
    what `jaxclip.load` was given, by which a run's commands find the model again; it is None for a Clip that was put
    together by hand or went through `jax.tree.map`, and for one that was loaded with options of its own.
    """

    vision: VisionTransformer
    text: TextTransformer | None
    logit_scale: Float[Array, ""]
    logit_bias: Float[Array, ""] | None
    config: ClipConfig = field(metadata={"static": True})
    tokenizer: Tokenizer = field(metadata={"static": True}, repr=False)
    source: str | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        """What goes in, what comes out and how many layers and heads lie between."""
        image, text = self.config.vision, self.config.text
        height, width = image.image_size
        towers = f"image {height} x {width}, {counted(image.n_layers, 'layer')} of {counted(image.n_heads, 'head')}"
        words = "no text tower"
        if text is not None:
            words = f"text of {counted(text.context, 'token')}, {counted(text.n_layers, 'layer')}"
        return f"Clip({self.config.name!r}: {towers}; {words}; embed {image.embed_dim})"

    def preprocess(
        self, images: Any, *, apply_exif: bool | None = None
    ) -> Float[np.ndarray, "batch height width channel"]:
        """Pictures of any size and mode to the vision tower's input, on the host, in its own library's way.

        Args:
          images: PIL images, paths, encoded bytes or uint8 arrays, one or a list.
          apply_exif: turn photographs as their EXIF tag says; CLIP's libraries do not, so None warns where it matters.
        """
        return pictures.preprocess(images, self.config.preprocess, apply_exif=apply_exif)

    def tokenize(self, texts: str | Sequence[str]) -> Int[np.ndarray, "text position"]:
        """Strings to token ids with the checkpoint's own tokenizer; what is too long is cut as its library cuts it.

        Raises:
          ValueError: no texts, something that is no string, or a checkpoint without a tokenizer.
        """
        self._text()
        return self.tokenizer(texts)

    @on_own_terms
    def encode_text(
        self, texts: str | Sequence[str] | Int[AnyArray, "text position"] | Any, *, normalize: bool = False
    ) -> Float[Array, "text embed"]:
        """Text embeddings in the joint space, of unit norm if `normalize`.

        Args:
          texts: strings, one or a list, or token ids from `tokenize`.
          normalize: divide each by its norm.

        Raises:
          ValueError: as `tokenize`, or token ids that the tower does not take.
        """
        given: Any = texts
        some = given[0] if isinstance(given, list | tuple) and given else given
        # An empty list is no texts, which `tokenize` says; other lists without strings are ids.
        tokens = self.tokenize(given) if isinstance(some, str | list | tuple) and not _ids(some) else given
        return _normalized(self._text()(tokens), normalize)

    @on_own_terms
    def encode_image(
        self, images: Float[AnyArray, "batch height width channel"] | Any, *, normalize: bool = False
    ) -> Float[Array, "batch embed"]:
        """Image embeddings alone, of unit norm if `normalize`; calling `vision` returns their decomposition too.

        Args:
          images: what `preprocess` made, or what it takes: paths, PIL images, encoded bytes, uint8 arrays.
          normalize: divide each by its norm.

        Raises:
          FileNotFoundError, ValueError: as `preprocess`, or images of another shape than the tower's.
        """
        some = images[0] if isinstance(images, list | tuple) and images else images
        # Floats are normalised already; every other kind of array or object is a picture.
        ready = "float" in str(getattr(some, "dtype", ""))
        return _normalized(self.vision.embed(images if ready else self.preprocess(images)), normalize)

    def _text(self) -> TextTransformer:
        if self.text is None:
            raise ValueError(f"{self.config.name} has no text tower here: {self.config.text_missing}")
        return self.text


@on_own_terms
def load(
    source: str | Path,
    *,
    dtype: str = "float32",
    precision: str = "highest",
    image_size: int | tuple[int, int] | None = None,
    offline: bool = False,
    **options: Any,
) -> Clip:
    """Load a ready CLIP from a folder `jaxclip convert` wrote or from any source it takes.

    >>> jaxclip.load("scenes")
    Clip('scenes': image 96 x 96, 6 layers of 4 heads; text of 32 tokens, 2 layers; embed 128)

    Args:
      source: a converted folder, an OpenCLIP or Hugging Face folder or file, a hub name such as "ViT-L-14/openai", or
        "scenes", the small CLIP that comes with jaxclip.
      dtype: what weights are kept and multiplied in; sums, softmax and LayerNorm statistics stay float32.
      precision: how float32 products are formed on accelerators; "highest" is true float32.
      image_size: run at another input size, with resized position embeddings.
      offline: take from the hub only what its cache holds; set it for names that come out of a file.
      options: what a source cannot say of itself, as `jaxclip.convert.read` takes it (`like`, `model`, ...).

    Raises:
      ValueError, FileNotFoundError: with what was expected, what came and what to do.
    """
    # Orbax takes a second to import, and only loading needs it.
    from jaxclip.convert import open_checkpoint  # pyright: ignore[reportMissingImports]

    compute = Compute(dtype=cast(Any, dtype), precision=cast(Any, precision))  # checked there
    config, params, words = open_checkpoint(source, image_size=image_size, offline=offline, **options)
    return replace(build(config, params, compute, words), source=None if options else _placed(source))


def _placed(source: str | Path) -> str:
    """Return what finds the model again from another folder: a place as a whole path, a name as it is."""
    from jaxclip.data.scenes import CHECKPOINT

    path = expanded(source)
    if path == CHECKPOINT:
        return "scenes"
    return str(path.absolute()) if path.exists() else str(source)


@on_own_terms
def build(config: ClipConfig, params: dict[str, Any], compute: Compute, words: Tokenizer) -> Clip:
    """Build the towers, filled with a parameter tree (names as in `jaxclip.model.vision` and `jaxclip.model.text`)."""
    bias = params.get("logit_bias")
    return Clip(
        vision=fill(VisionTransformer, config.vision, params["vision"], compute),
        text=None if config.text is None else fill(TextTransformer, config.text, params["text"], compute),
        logit_scale=jnp.asarray(params["logit_scale"], jnp.float32),
        logit_bias=None if bias is None else jnp.asarray(bias, jnp.float32),
        config=config,
        tokenizer=words,
    )


@on_own_terms
def fill(tower: type, config: Any, params: dict[str, Any], compute: Compute) -> Any:
    """Fill a tower with the given parameters, cast to the dtype they are multiplied in; nothing is initialised first.

    Raises:
      ValueError: parameters missing, unexpected or of another shape, all named.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: tower(config, nnx.Rngs(0), compute)))
    expected = {path: leaf.shape for path, leaf in flatten(nnx.to_pure_dict(state))}
    given = {path: leaf.shape for path, leaf in flatten(params)}
    if wrong := sorted(path for path in expected.keys() | given.keys() if expected.get(path) != given.get(path)):
        raise ValueError(f"{tower.__name__}: parameters missing, unexpected or of another shape: {', '.join(wrong)}.")
    nnx.replace_by_pure_dict(state, jax.tree.map(lambda x: jnp.asarray(x, compute.dtype), params))
    return nnx.merge(graph, state)


def _ids(row: Any) -> bool:
    return isinstance(row, list | tuple) and bool(row)


def _normalized(x: Float[Array, "batch embed"], wanted: bool) -> Float[Array, "batch embed"]:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True) if wanted else x
