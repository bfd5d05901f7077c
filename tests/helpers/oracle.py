"""The paper in NumPy float64, written for reading: one image, explicit loops over layers, nothing shared with jaxclip.

Takes the parameter tree by its names. Source: arXiv:2310.05916, section 3.1; constants as in the released code.
"""

import math

import numpy as np

ERF = np.vectorize(math.erf)


def activation(x, kind):
    if kind == "gelu":
        return 0.5 * x * (1 + ERF(x / math.sqrt(2)))
    if kind == "quick_gelu":
        return x / (1 + np.exp(-1.702 * x))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def norm(x, weights, eps):
    mean = x.mean(-1, keepdims=True)
    sigma = np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps)
    return (x - mean) / sigma * weights["scale"] + weights["bias"]


def tokens(image, params, config):
    rows, columns = config.grid
    down, across = config.patch_size
    patches = [
        image[r * down : (r + 1) * down, c * across : (c + 1) * across].reshape(-1) @ params["patch_embedding"]
        for r in range(rows)
        for c in range(columns)
    ]
    x = np.stack([params["class_embedding"], *patches]) + params["positional_embedding"]
    return norm(x, params["ln_pre"], config.eps) if config.ln_pre else x


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def terms(image, params, config, heads=None, mlps=None, visible=None):
    """The pooled residual stream z [w] and its terms: init [w], attn [l h t w], b_O [l w], mlp [l w]."""
    params = as_float64(params)
    x = tokens(np.asarray(image, np.float64), params, config)
    visible = np.ones(len(x), bool) if visible is None else np.asarray(visible, bool)
    share = np.zeros(len(x))
    if config.pool == "class":
        share[0] = 1
    else:
        share[1:] = visible[1:] / visible[1:].sum()
    init, attn, biases, mlp = share @ x, [], [], []
    for layer in range(config.n_layers):
        block = layer_of(params["blocks"], layer)
        gamma_1, gamma_2 = block.get("ls_1", 1.0), block.get("ls_2", 1.0)
        y = norm(x, block["ln_1"], config.eps)
        q, k, v = np.einsum("tw,wxhc->xhtc", y, block["attn_in"]["kernel"]) + block["attn_in"]["bias"][:, :, None]
        logits = np.einsum("hqc,htc->hqt", q, k) / math.sqrt(config.head_dim)
        pattern = softmax(np.where(visible, logits, -np.inf))
        if heads is not None:
            pattern = pattern * np.asarray(heads, np.float64)[layer][:, None, None]
        per_head = np.einsum("hqt,htc,hcw->qhtw", pattern, v, block["attn_out"]["kernel"]) * gamma_1
        bias = block["attn_out"]["bias"] * gamma_1
        attn.append(np.einsum("q,qhtw->htw", share, per_head))
        biases.append(bias)
        x = x + per_head.sum((1, 2)) + bias
        hidden = activation(
            norm(x, block["ln_2"], config.eps) @ block["mlp_in"]["kernel"] + block["mlp_in"]["bias"], config.activation
        )
        added = (hidden @ block["mlp_out"]["kernel"] + block["mlp_out"]["bias"]) * gamma_2
        if mlps is not None:
            added = added * float(mlps[layer])
        mlp.append(share @ added)
        x = x + added
    return share @ x, init, np.stack(attn), np.stack(biases), np.stack(mlp)


def decompose(image, params, config, constants="spread", **masks):
    """embedding [e], init [e], attn [l h t e], mlp [l e], constant [e] of one image."""
    z, init, attn, biases, mlp = terms(image, params, config, **masks)
    params = as_float64(params)
    gamma, beta = params["ln_post"]["scale"], params["ln_post"]["bias"]
    projection = params["projection"]
    mu, sigma = z.mean(), math.sqrt(z.var() + config.eps)
    embedding = norm(z, params["ln_post"], config.eps) @ projection

    def centred(x):
        return ((x - x.mean(-1, keepdims=True)) * gamma / sigma) @ projection

    def plain(x):
        return (x * gamma / sigma) @ projection

    if constants == "separate":
        constant = beta @ projection + centred(biases).sum(0)
        return embedding, centred(init), centred(attn), centred(mlp), constant
    left = (beta - mu * gamma / sigma) @ projection / (2 * config.n_layers + 1)
    n_terms = attn.shape[1] * attn.shape[2]
    spread = plain(attn) + ((plain(biases) + left) / n_terms)[:, None, None]
    return embedding, plain(init) + left, spread, plain(mlp) + left, np.zeros_like(left)


def as_float64(tree):
    if isinstance(tree, dict):
        return {name: as_float64(value) for name, value in tree.items()}
    return np.asarray(tree, np.float64)


def layer_of(tree, layer):
    if isinstance(tree, dict):
        return {name: layer_of(value, layer) for name, value in tree.items()}
    return tree[layer]


def textspan(samples, texts, rank, steps):
    """Picks and reconstruction of one head, from its samples [n e] and texts [s e], as the released code has them."""
    samples, texts = np.asarray(samples, np.float64), np.asarray(texts, np.float64)
    span = np.linalg.svd(samples, full_matrices=False)[2][:rank]
    mean = samples.mean(0)
    picks, spanned = textspan_of_centred(samples - mean, texts @ span.T @ span, steps)
    return picks, mean + spanned


def textspan_of_centred(left, texts, steps):
    """The greedy part alone: picks, and what of the centred samples lies in the span of the picks."""
    spanned, picks = np.zeros_like(left), []
    for _ in range(steps):
        # The mean is zero and stays so; any rows with the same second moment have the same deviations up to scale.
        pick = int(np.argmax(np.square(left @ texts.T).sum(0)))
        q = texts[pick] / np.linalg.norm(texts[pick])
        along = np.outer(left @ q, q)
        spanned, left = spanned + along, left - along
        texts = texts - np.outer(texts @ q, q)
        picks.append(pick)
    return picks, spanned
