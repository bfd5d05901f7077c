"""How the scenes' CLIP learns: augmentation, the contrastive loss, the optimizer, and which scenes share a batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from scenes_judge import normalise, scaled
from scenes_presets import Preset

MAX_LOGIT_SCALE = float(np.log(100))
SHARED = ("background", "colour", "number", "size", "texture")  # learned early; what scenes of one run have in common
DECAYED = ("kernel", "patch_embedding", "projection")
# Which axes of a block's stacked kernel are a matrix's rows and columns; queries, keys and values are matrices each.
MATRICES = {
    "attn_in.kernel": optax.contrib.MuonDimensionNumbers((1,), (3, 4)),
    "attn_out.kernel": optax.contrib.MuonDimensionNumbers((1, 2), (3,)),
    "mlp_in.kernel": optax.contrib.MuonDimensionNumbers((1,), (2,)),
    "mlp_out.kernel": optax.contrib.MuonDimensionNumbers((1,), (2,)),
}


def augment(key: jax.Array, images: jax.Array, shift: int) -> jax.Array:
    """Small displacements and changes of light, which leave every caption true (a mirror image would not)."""
    batch, height, width, _ = images.shape
    where, gain, light = jax.random.split(key, 3)
    padded = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
    offsets = jax.random.randint(where, (batch, 2), 0, 2 * shift + 1)
    moved = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), (height, width, 3)))(
        padded, offsets
    )
    gains = jax.random.uniform(gain, (batch, 1, 1, 3), minval=0.94, maxval=1.06)
    return scaled(moved) * gains + jax.random.uniform(light, (batch, 1, 1, 1), minval=-0.08, maxval=0.08)


def contrastive_loss(images: jax.Array, texts: jax.Array, logit_scale: jax.Array, tokens: jax.Array) -> jax.Array:
    """Cross-entropy both ways over the batch; a text identical to the right one is left out, not pushed away."""
    salt = jax.random.bits(jax.random.key(0), (tokens.shape[-1],), jnp.uint32)
    code = (tokens.astype(jnp.uint32) * salt).sum(-1)
    twins = (code[:, None] == code) & ~jnp.eye(len(code), dtype=bool)
    logits = jnp.exp(jnp.minimum(logit_scale, MAX_LOGIT_SCALE)) * normalise(images) @ normalise(texts).T
    logits = jnp.where(twins, -jnp.inf, logits)
    right = jnp.diagonal(logits)
    return (jax.nn.logsumexp(logits, 0) + jax.nn.logsumexp(logits, 1)).mean() / 2 - right.mean()


def learning_rate(preset: Preset, step: jax.Array, total: jax.Array) -> jax.Array:
    """Linear warmup, then a cosine to zero at `total`."""
    progress = jnp.clip((step - preset.warmup) / jnp.maximum(total - preset.warmup, 1), 0, 1)
    warm = jnp.minimum((step + 1) / preset.warmup, 1)
    return preset.learning_rate * warm * 0.5 * (1 + jnp.cos(jnp.pi * progress))


def optimizer(preset: Preset, names: list[str]) -> optax.GradientTransformation:
    """Muon for the blocks' matrices, Adam for the rest, both at one learning rate (updates of equal size, root mean
    square); steps are dear on two cores, and Muon needs fewer of them than Adam alone."""
    decayed = {name: name.rsplit(".", 1)[-1] in DECAYED for name in names}
    # optax annotates a tree of these with the type of its leaves.
    matrices: Any = {name: MATRICES.get(name.partition("blocks.")[2]) for name in names}
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.contrib.muon(
            1.0,
            weight_decay=preset.weight_decay,
            adam_weight_decay=preset.weight_decay,
            weight_decay_mask=decayed,
            adam_b2=0.98,
            muon_weight_dimension_numbers=matrices,
            consistent_rms=0.2,
        ),
    )


def hard_batches(preset: Preset, labels: dict[str, np.ndarray], step: int) -> np.ndarray:
    """An order of a shard, `[step, batch]`, whose batches are made of runs of scenes that are alike.

    In a batch drawn at random a colour and a background nearly always name the right scene, and nothing pushes towards
    shape or place. So the shard is sorted by the factors in `SHARED`, in an order of importance drawn anew each time:
    neighbours then share three or four of them, and among those something else has to tell. Birds keep random company:
    on one background a duck has to be told from a finch, and the cue of their backgrounds would no longer be spurious.
    """
    rng = np.random.default_rng([1, step])
    bird = labels["bird"] >= 0
    keys = [np.where(bird, 0, labels[factor]) for factor in rng.permutation(SHARED)]
    order = np.lexsort((rng.permutation(preset.shard), *keys, bird))
    n_steps = preset.shard // preset.batch
    runs = order[: n_steps * preset.batch].reshape(-1, preset.run)
    return rng.permutation(runs).reshape(n_steps, preset.batch).astype(np.int32)
