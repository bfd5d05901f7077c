# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A tour
#
# From one picture to a model's heads in words, on the small CLIP that comes with jaxclip and on pictures that are drawn
# here; nothing is downloaded. As a notebook: `pip install jupytext`, then `jupytext --to notebook docs/tour.py`.

# %%
import tempfile
from pathlib import Path

import jax
import numpy as np

import jaxclip

clip = jaxclip.load("scenes")
print(clip)

# %% [markdown]
# ## One picture
#
# The embedding comes with every term it is the sum of.

# %%
picture = jaxclip.scenes.scene(0, "test", 3)
images = clip.preprocess([picture["image"]])
embedding, contributions = clip.vision(images)
print(contributions)
print(f"largest error of the sum, relative to the embedding: {contributions.check(embedding):.0e}")

# %% [markdown]
# ## What says what
#
# Terms live in the space that texts are embedded in, so each has a direct effect on each text. Relative to the mean of
# the texts: what all of them share tells nothing about which of them fits.

# %%
asked = ["a purple crescent", "a yellow cross", "a dark starry sky", "a green lawn"]
texts = jaxclip.text_embeddings(clip, asked)
effects = contributions.normalized().project(texts - texts.mean(0))
heads = np.asarray(effects.reduce("head").attn[0])
for i, text in enumerate(asked):
    layer, head = np.unravel_index(heads[:, :, i].argmax(), heads.shape[:2])
    total = float(effects.total()[0, i])
    print(f"{text:20} {total:+.3f}, most of all by head {layer}.{head}: {heads[layer, head, i]:+.3f}")

# %% [markdown]
# ## Where
#
# Summed over layers and heads, the same terms are a map over patches. Its left half against its right half:

# %%
patches = np.asarray(effects.reduce("token").attn[0, 1:]).reshape(*clip.config.vision.grid, -1)
left, right = np.split(patches, 2, axis=1)
for i, text in enumerate(asked):
    print(f"{text:20} left {left[..., i].sum():+.3f}, right {right[..., i].sum():+.3f}")
print("drawn:", picture["captions"][0])

# %% [markdown]
# ## A pass over a data set
#
# What is needed of many pictures is kept: moments of every head, and a bank of all terms. On the command line this is
# `jaxclip run`.

# %%
folder = Path(tempfile.mkdtemp()) / "run"
source = jaxclip.open_data("scenes", split="test", limit=80)
run = jaxclip.run_pass(clip, source, folder, jaxclip.PassOptions(batch=40, bank=True))
print(run)

# %% [markdown]
# ## Heads in words
#
# TextSpan picks the texts that span most of what a head varies in. The head that varies most:

# %%
pool = jaxclip.scenes_pool()
spans = jaxclip.head_bases(run.moments.heads, jaxclip.text_embeddings(clip, pool.texts), steps=5)
variance = np.asarray(run.moments.heads.variance)
layer, head = np.unravel_index(variance.argmax(), variance.shape)
span = jax.tree.map(lambda x: x[layer, head], spans)
print(f"head {layer}.{head}: {span}")
for index, explained in zip(span.indices, span.explained, strict=True):
    print(f"  {pool.texts[int(index)]:40} {float(explained):.0%}")

# %% [markdown]
# ## Without a head
#
# Replacing a head by its mean over the data changes the embedding by what is in the bank already: all 24 single
# ablations at once, without running the model again.

# %%
n_layers, n_heads = variance.shape
labels = run.labels["shape"]
rows = run.labelled("shape")
classes = jaxclip.class_embeddings(clip, jaxclip.scenes.prompts("shape"))
one = jaxclip.Ablation.of
sets = [one(n_layers, n_heads)]
sets += [one(n_layers, n_heads, heads=[divmod(at, n_heads)]) for at in range(n_layers * n_heads)]
right = np.asarray(jaxclip.sweep(run, rows, run.means(), classes, labels[rows], jaxclip.Ablation.stack(sets)))
accuracy = right.mean(1)
worst = int(accuracy[1:].argmin())
print(f"shape, {len(rows)} images: {accuracy[0]:.0%} with all heads")
print(f"without head {worst // n_heads}.{worst % n_heads}: {accuracy[1 + worst]:.0%}")
