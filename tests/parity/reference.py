"""The decomposition read off a PyTorch model by hooks: what open_clip's and transformers' own modules computed, and the
final LayerNorm's algebra on top. Runs in the dtype of the model, so `model.double()` makes it exact.

Source: arXiv:2310.05916, section 3.1; constants as in the released code.
"""

from contextlib import contextmanager
from typing import Any, NamedTuple

import torch


class Layer(NamedTuple):
    """One block: the modules to watch, its attention weights [w w], and what multiplies its two outputs."""

    ln_1: Any
    mlp: Any
    weights: tuple[Any, Any, Any]
    biases: tuple[Any, Any, Any]
    out: Any
    n_heads: int
    scales: tuple[Any, Any]


class Tower(NamedTuple):
    """What there is to read off a vision tower; `projection` is [w e]."""

    embed: Any
    layers: list[Layer]
    first: Any
    ln_post: Any
    projection: Any
    averaged: bool


def openclip_tower(model):
    visual = model.visual
    layers = [
        Layer(
            ln_1=block.ln_1,
            mlp=block.mlp,
            weights=block.attn.in_proj_weight.chunk(3),
            biases=block.attn.in_proj_bias.chunk(3),
            out=block.attn.out_proj,
            n_heads=block.attn.num_heads,
            scales=(getattr(block.ls_1, "gamma", 1.0), getattr(block.ls_2, "gamma", 1.0)),
        )
        for block in visual.transformer.resblocks
    ]
    averaged = visual.pool_type == "avg"
    return Tower(visual, layers, visual.transformer.resblocks[0], visual.ln_post, visual.proj, averaged)


def huggingface_tower(model):
    vision = model.vision_model

    def layer(block):
        attention = block.self_attn
        linears = attention.q_proj, attention.k_proj, attention.v_proj
        return Layer(
            ln_1=block.layer_norm1,
            mlp=block.mlp,
            weights=tuple(linear.weight for linear in linears),
            biases=tuple(linear.bias for linear in linears),
            out=attention.out_proj,
            n_heads=attention.num_heads,
            scales=(1.0, 1.0),
        )

    def embed(images):
        return model.visual_projection(vision(images).pooler_output)

    projection = model.visual_projection.weight.T
    layers = [layer(block) for block in vision.encoder.layers]
    return Tower(embed, layers, vision.encoder.layers[0], vision.post_layernorm, projection, False)


def tower(model):
    return openclip_tower(model) if hasattr(model, "visual") else huggingface_tower(model)


@contextmanager
def watched(tower):
    """Yields a dict that a forward pass fills: the input of the first block and of ln_post, and every block's parts."""
    seen, hooks = {}, []

    def output(key):
        return lambda _module, _inputs, output: seen.__setitem__(key, output)

    def given(key):
        def hook(_module, args, kwargs):
            seen[key] = args[0] if args else next(iter(kwargs.values()))

        return hook

    for i, layer in enumerate(tower.layers):
        hooks += [layer.ln_1.register_forward_hook(output(("ln_1", i)))]
        hooks += [layer.mlp.register_forward_hook(output(("mlp", i)))]
    for key in ("first", "ln_post"):
        hooks += [getattr(tower, key).register_forward_pre_hook(given(key), with_kwargs=True)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def decompose(model, images, constants="spread", *, per_token=True):
    """The un-normalised embedding [b e] and its terms init [b e], attn [b l h t e], mlp [b l e] and constant [b e].

    `images` [b h w 3] as jaxclip takes them; arrays come back as NumPy. Without `per_token` attn is [b l h e].
    """
    parts = tower(model)
    dtype = parts.projection.dtype
    with watched(parts) as seen:
        embedding = parts.embed(torch.from_numpy(images).to(dtype).permute(0, 3, 1, 2))

    def pool(x):
        return x[:, 1:].mean(1) if parts.averaged else x[:, 0]

    norm = parts.ln_post
    z = seen["ln_post"] if seen["ln_post"].ndim == 2 else seen["ln_post"][:, 0]
    mu, sigma = z.mean(-1, keepdim=True), (z.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()

    def direct(x):
        centre = x.mean(-1, keepdim=True) if constants == "separate" else 0
        return ((x - centre) * norm.weight / sigma.reshape(-1, *(1,) * (x.ndim - 1))) @ parts.projection

    spec = "bht,bhtc,whc->bhtw" if per_token else "bht,bhtc,whc->bhw"
    written = torch.stack([_written(seen["ln_1", i], layer, pool, spec) for i, layer in enumerate(parts.layers)], 1)
    mlp = torch.stack([pool(seen["mlp", i]) * layer.scales[1] for i, layer in enumerate(parts.layers)], 1)
    biases = torch.stack([layer.out.bias * layer.scales[0] for layer in parts.layers])
    init, attn, mlp, biases = (
        direct(x) for x in (pool(seen["first"]), written, mlp, biases[None].repeat(len(z), 1, 1))
    )
    beta = (norm.bias @ parts.projection).expand_as(init)
    left = beta - (mu / sigma) * (norm.weight @ parts.projection)
    if constants == "separate":
        terms = init, attn, mlp, beta + biases.sum(1)
    else:
        share = left / (2 * len(parts.layers) + 1)
        pieces = attn.shape[2:-1]
        spread = ((biases + share[:, None]) / pieces.numel()).unflatten(1, (-1, *(1,) * len(pieces)))
        terms = init + share, attn + spread, mlp + share[:, None], torch.zeros_like(init)
    return [x.numpy() for x in (embedding, *terms)]


def _written(y, layer, pool, spec):
    """What each head moves from each token into the pooled residual stream, b_O left out."""
    q, k, v = (
        (y @ weight.T + bias).unflatten(-1, (layer.n_heads, -1)).transpose(1, 2)
        for weight, bias in zip(layer.weights, layer.biases, strict=True)
    )
    pattern = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    row = pool(pattern.transpose(1, 2))
    out = layer.out.weight.unflatten(1, (layer.n_heads, -1))
    return torch.einsum(spec, row, v, out) * layer.scales[0]
