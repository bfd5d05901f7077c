"""How well a CLIP knows the scenes' factors, zero-shot."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scenes_data import CONTEXT, tokenize, tokenizer
from scenes_presets import MEAN, STD

from jaxclip.data.scenes import FACTORS, PROMPTS, prompts


def normalise(x: jax.Array) -> jax.Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def scaled(images: jax.Array) -> jax.Array:
    return (images.astype(jnp.float32) / 255 - MEAN) / STD


class Judge:
    """Zero-shot accuracy per factor on held-out scenes, with ensembles of prompts."""

    def __init__(self, towers: Callable[[Any], tuple[Any, Any]], data: dict[str, Any]):
        backend = tokenizer()
        filled = {factor: prompts(factor) for factor in PROMPTS}
        rows = {factor: np.stack([tokenize(backend, texts) for texts in filled[factor]]) for factor in filled}
        self.labels = {name: data[name] for name in FACTORS}
        batch = next(n for n in range(min(500, len(data["images"])), 0, -1) if len(data["images"]) % n == 0)
        self.images = jnp.asarray(np.ascontiguousarray(data["images"]).reshape(-1, batch, *data["images"].shape[1:]))
        self.rows = {factor: jnp.asarray(tokens.astype(np.int32)) for factor, tokens in rows.items()}

        @jax.jit
        def embed(params, images, rows):
            vision, text = towers(params)
            found = jax.lax.map(lambda some: normalise(vision.embed(scaled(some))), images)
            classes = {
                factor: normalise(normalise(text(tokens.reshape(-1, CONTEXT))).reshape(*tokens.shape[:2], -1).mean(1))
                for factor, tokens in rows.items()
            }
            return {factor: found.reshape(-1, found.shape[-1]) @ classes[factor].T for factor in classes}

        self.embed = embed

    def __call__(self, params: dict[str, jax.Array]) -> dict[str, float]:
        scores = jax.tree.map(np.asarray, self.embed(params, self.images, self.rows))
        right = {factor: scores[factor].argmax(-1) == self.labels[factor] for factor in scores}
        result = {factor: right[factor][self.labels[factor] >= 0].mean() for factor in scores}
        for index, group in enumerate(FACTORS["group"]):
            result[group] = right["bird"][self.labels["group"] == index].mean()
        return {name: round(float(value), 4) for name, value in result.items()}
