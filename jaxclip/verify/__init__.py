"""Proof on the user's own machine: the sum for every detail and convention, and, where open_clip is installed, both
embeddings and every layer's and head's contribution against PyTorch. `jaxclip.verify.picture_files` begins before that,
at picture files and texts.

With `jaxclip.verify.own_library` this is all that knows PyTorch exists; they ask for it by name and go on without.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from jaxclip.clip import Clip
from jaxclip.config import ClipConfig, TextConfig
from jaxclip.model.contributions import Constants, Detail
from jaxclip.model.nonfinite import check_images
from jaxclip.model.text import TextTransformer

SUM_TOLERANCE = 1e-6
EMBEDDING_TOLERANCE = 1e-5
CONTRIBUTION_TOLERANCE = 1e-6
OPENCLIP_CONFIG = "open_clip_config.json"


@dataclass(frozen=True)
class Check:
    """One row: the largest error, and what is allowed in float32. It is relative to the norm of an embedding where
    `unit` names nothing else."""

    what: str
    error: float
    tolerance: float
    unit: Literal["", "levels", "texts"] = ""

    @property
    def holds(self) -> bool:
        return self.error <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


def verify(clip: Clip, images: Float[np.ndarray, "batch height width channel"]) -> Iterator[Check]:
    """`contributions.total()` is the embedding, for every detail and convention.

    Raises:
      ValueError: the tower gives NaN, naming the layer and the weights.
    """
    check_images(clip.vision.embed(images), clip.vision, images, [f"probe image {i}" for i in range(len(images))])
    for detail in get_args(Detail):
        for constants in get_args(Constants):
            embedding, contributions = clip.vision(images, detail=detail, constants=constants)
            error = _error(contributions.total(), embedding, embedding)
            yield Check(f"sum, detail {detail}, constants {constants}", error, SUM_TOLERANCE)


def compare(
    clip: Clip,
    source: str | Path,
    images: Float[np.ndarray, "batch height width channel"],
    theirs: tuple[Any, str] | None = None,
) -> Iterator[Check]:
    """Both towers against open_clip in PyTorch, and every layer's and head's contribution against the same sums formed
    there from what forward hooks see.

    Args:
      clip: what jaxclip loaded.
      source: where from.
      images: normalised.
      theirs: what `open_clip_model` gave, where it was called already.
    """
    torch = import_module("torch")
    model, whose = theirs or open_clip_model(clip, source)
    embedding, contributions = clip.vision(images, detail="head")
    with torch.no_grad():
        theirs_embedding, terms = _torch_terms(torch, model, torch.from_numpy(images).permute(0, 3, 1, 2))
        norm = theirs_embedding.numpy()
        yield Check(f"image embedding, {whose}", relative_error(embedding, norm), EMBEDDING_TOLERANCE)
        for layer in range(clip.config.vision.n_layers):
            mine = np.asarray(contributions.attn[:, layer]), np.asarray(contributions.mlp[:, layer])
            errors = [_error(a, b.numpy(), norm) for a, b in zip(mine, terms[layer], strict=True)]
            yield Check(f"contributions of layer {layer}, every head and the MLP", max(errors), CONTRIBUTION_TOLERANCE)
        config = clip.config.text
        if clip.text is None or config is None:
            return
        tokens = np.random.default_rng(0).integers(1, config.vocab_size - 1, (8, config.context), dtype=np.int64)
        tokens[:, config.context // 2 :] = config.pad_id
        tokens[:, config.context // 2] = config.eos_id if config.eos_id is not None else config.vocab_size - 1
        texts = model.encode_text(torch.from_numpy(tokens)).numpy()
        yield Check(f"text embedding, {whose}", relative_error(clip.encode_text(tokens), texts), EMBEDDING_TOLERANCE)


def relative_error(ours: Any, theirs: Any) -> float:
    """The largest difference of embeddings, relative to the largest norm."""
    return _error(ours, theirs, theirs)


def open_clip_model(clip: Clip, source: str | Path) -> tuple[Any, str]:
    """open_clip's model of a checkpoint in float32, and whose loading it is.

    open_clip loads `source` itself where it can (its own folders and tags); otherwise it gets this model's weights
    exported to its format, which compares the towers but not the conversion, and the rows say so.
    """
    with TemporaryDirectory() as scratch:
        model, whose = _open_clip_model(clip, source, Path(scratch))
    return model.eval().float(), whose


def _error(ours: Any, theirs: Any, embedding: Any) -> float:
    norm = np.linalg.norm(np.asarray(embedding), axis=-1).max()
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max() / norm)


def _open_clip_model(clip: Clip, source: str | Path, scratch: Path) -> tuple[Any, str]:
    open_clip = import_module("open_clip")
    theirs = "open_clip's own loading"
    if clip.text is None:  # open_clip would ask the hub for the text tower, by whatever name the files give it
        return _exported(open_clip, *_with_text(clip), scratch)
    if (Path(source) / OPENCLIP_CONFIG).is_file() and (model := _loaded(open_clip, f"local-dir:{source}")):
        return model, theirs
    name, _, tag = str(source).partition("/")
    if tag and not Path(source).exists() and tag in open_clip.list_pretrained_tags_by_model(name):
        # By itself open_clip takes the activation of the plain name, and for tags of quick_gelu only warns.
        quick = clip.config.vision.activation == "quick_gelu"
        if model := _loaded(open_clip, name, pretrained=tag, force_quick_gelu=quick):
            return model, theirs + (", told quick_gelu" if quick else "")
    from jaxclip.convert.readers.hub import parse_repository  # pyright: ignore[reportMissingImports]

    hub = str(source).startswith("hf-hub:")
    repository = parse_repository(str(source).removeprefix("hf-hub:")) if hub else None
    described = repository is not None and repository.revision is None and repository.cached(OPENCLIP_CONFIG)
    if described and (model := _loaded(open_clip, str(source))):
        return model, theirs
    return _exported(open_clip, clip.config, _towers(clip) | {"text": _arrays(clip.text)}, scratch)


def _with_text(clip: Clip) -> tuple[ClipConfig, dict[str, Any]]:
    """A model without a text tower with a small one of zeros, which its image tower does not see."""
    words = TextConfig(
        n_layers=1, width=8, n_heads=1, mlp_dim=8, embed_dim=clip.config.vision.embed_dim, vocab_size=8, context=4,
        activation=clip.config.vision.activation, eos_id=None,
    )  # fmt: skip
    text = jax.tree.map(np.zeros_like, _arrays(TextTransformer(words, nnx.Rngs(0))))
    return replace(clip.config, text=words, text_missing=None), _towers(clip) | {"text": text}


def _towers(clip: Clip) -> dict[str, Any]:
    return {"vision": _arrays(clip.vision), "logit_scale": np.asarray(clip.logit_scale)}


def _exported(open_clip: Any, config: ClipConfig, params: dict[str, Any], scratch: Path) -> tuple[Any, str]:
    from jaxclip.convert import export_openclip  # pyright: ignore[reportMissingImports]

    config = replace(config, preprocess=replace(config.preprocess, library="open_clip"))  # the towers are compared
    export_openclip(params, config, scratch / "model")
    return open_clip.create_model(f"local-dir:{scratch / 'model'}"), "weights exported to open_clip"


def _loaded(open_clip: Any, name: str, **options: Any) -> Any:
    """open_clip's own model, None where it does not take the file: another name, wrapped weights, no network."""
    try:  # without `require_pretrained` it makes a random model where it finds no weights
        return open_clip.create_model(name, require_pretrained=True, **options)
    except (RuntimeError, UnpicklingError):
        return None


def _arrays(module: nnx.Module) -> dict[str, Any]:
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module)))


def _torch_terms(torch: Any, model: Any, images: Any) -> tuple[Any, list[tuple[Any, Any]]]:
    """open_clip's embedding, and per layer the contributions of its heads [batch head embed] and MLP [batch embed]."""
    visual = model.visual
    blocks = visual.transformer.resblocks
    seen: dict[Any, Any] = {}
    hooks = []
    for i, block in enumerate(blocks):
        for name in ("ln_1", "mlp"):
            store = lambda _module, _inputs, output, key=(i, name): seen.__setitem__(key, output)  # noqa: E731
            hooks.append(getattr(block, name).register_forward_hook(store))
    last = []
    hooks.append(visual.ln_post.register_forward_pre_hook(lambda _module, inputs: last.append(inputs[0])))
    embedding = visual(images)
    for hook in hooks:
        hook.remove()

    averaged = visual.pool_type == "avg"

    def pool(x: Any) -> Any:
        return x[:, 1:].mean(1) if averaged else x[:, 0]

    z = last[0] if last[0].ndim == 2 else last[0][:, 0]
    sigma = (z.var(-1, unbiased=False, keepdim=True) + visual.ln_post.eps).sqrt()
    mu = z.mean(-1, keepdim=True)
    gamma, beta, projection = visual.ln_post.weight, visual.ln_post.bias, visual.proj
    share = ((beta - mu * gamma / sigma) @ projection) / (2 * len(blocks) + 1)

    def embed(x: Any) -> Any:
        return (x * gamma / sigma.reshape(-1, *(1,) * (x.ndim - 1))) @ projection

    terms = []
    for i, block in enumerate(blocks):
        attn, heads = block.attn, block.attn.num_heads
        scale_1, scale_2 = (getattr(ls, "gamma", 1.0) for ls in (block.ls_1, block.ls_2))
        y = seen[i, "ln_1"]
        qkv = y @ attn.in_proj_weight.T + attn.in_proj_bias
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in qkv.chunk(3, -1))
        pattern = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        mixed = pool((pattern @ v).transpose(1, 2))
        out = attn.out_proj.weight.unflatten(1, (heads, -1))
        written = torch.einsum("bhc,whc->bhw", mixed, out) * scale_1
        bias = embed((attn.out_proj.bias * scale_1)[None]) + share
        terms.append((embed(written) + bias[:, None] / heads, embed(pool(seen[i, "mlp"]) * scale_2) + share))
    return embedding, terms


def probe_images(clip: Clip, batch: int = 4) -> Float[np.ndarray, "batch height width channel"]:
    """Inputs that leave nothing at rest: noise, waves, steps; normalised like pictures."""
    height, width = clip.config.vision.image_size
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    images = rng.standard_normal((batch, height, width, 3))
    images[1::2] = np.sin(2 * np.pi * (3 * x + 5 * y))[..., None] + 0.3 * images[1::2]
    images[2::4] = np.sign(images[2::4]) * (x > 0.5)[..., None]
    return images.astype(np.float32)
