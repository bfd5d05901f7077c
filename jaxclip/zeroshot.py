"""Zero-shot classification: texts as a classifier."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxclip.axes import AnyArray
from jaxclip.clip import Clip
from jaxclip.data.class_names import prompts as filled
from jaxclip.model.nonfinite import check_texts
from jaxclip.numerics.own_terms import on_own_terms


@on_own_terms
def text_embeddings(
    clip: Clip, texts: Sequence[str], batch: int = 256, progress: Callable[[int, int], None] = lambda done, total: None
) -> Float[Array, "text embed"]:
    """Encode any number of texts as unit embeddings.

    >>> clip = jaxclip.load("scenes")
    >>> jaxclip.text_embeddings(clip, ["a star", "grass"]).shape
    (2, 128)

    Args:
      batch: texts encoded together; the last of several batches is filled up, so that one program serves all.
      progress: called before every batch with the number of texts encoded and of all.

    Raises:
      ValueError: the tower gives NaN, naming the text and the layer.
    """
    tokens, parts = clip.tokenize(list(texts)), []
    if len(tokens) > batch:
        tokens = np.concatenate([tokens, np.repeat(tokens[-1:], -len(tokens) % batch, axis=0)])
    for start in range(0, len(tokens), batch):
        progress(start, len(tokens))
        some = tokens[start : start + batch]
        parts.append(clip.encode_text(some, normalize=True))
        named = [texts[min(place, len(texts) - 1)] for place in range(start, start + len(some))]
        check_texts(parts[-1], clip.text, some, named)
    return jnp.concatenate(parts)[: len(texts)]


@on_own_terms
def class_embeddings(clip: Clip, prompts: Sequence[Sequence[str]], batch: int = 256) -> Float[Array, "text embed"]:
    """Return one direction of unit norm a class: the mean of its prompts' unit embeddings.

    Args:
      prompts: for every class, its prompts.
      batch: texts encoded together.

    Raises:
      ValueError: no classes, or a class without prompts.

    Source: Radford et al., arXiv:2103.00020, section 3.1.4.
    """
    if not prompts or not all(prompts):
        raise ValueError(f"every class needs at least one prompt; got {[len(some) for some in prompts]} prompts.")
    embeddings = text_embeddings(clip, [prompt for some in prompts for prompt in some], batch)
    ends = np.cumsum([len(some) for some in prompts])[:-1]
    means = jnp.stack([part.mean(0) for part in jnp.split(embeddings, ends)])
    return means / jnp.linalg.norm(means, axis=-1, keepdims=True)


def fill_templates(classes: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Write every class's prompts: each template with the class in place of {}, or with its article in place of {a}.

    >>> jaxclip.fill_templates(["owl", "cat"], ["a photo of {a}.", "one {}"])
    [['a photo of an owl.', 'one owl'], ['a photo of a cat.', 'one cat']]

    Raises:
      ValueError: no templates, or one without a place for the class.
    """
    return filled(classes, list(templates))


@on_own_terms
def accuracy(
    embeddings: Float[AnyArray, "batch embed"],
    classes: Float[AnyArray, "text embed"],
    labels: Int[AnyArray, "batch"],
) -> float:
    """Return the share of images whose nearest class, by inner product, is their label."""
    predicted = jnp.einsum("be,se->bs", embeddings, classes, precision="highest").argmax(-1)
    return float((predicted == labels).mean())


@on_own_terms
def contrast(classes: Float[AnyArray, "text embed"]) -> Float[Array, "text embed"]:
    """Take the mean over classes from each class: what only this class gets. Adding one number to all classes' scores
    changes no prediction, and here it changes nothing at all.

    >>> import numpy as np
    >>> jaxclip.contrast(np.eye(2, dtype=np.float32)).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    return jnp.asarray(classes) - jnp.asarray(classes).mean(0)
