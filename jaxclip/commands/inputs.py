"""What commands about a run read: its model, pools of texts, and heads by name."""

import re
from typing import TYPE_CHECKING

from jaxclip.commands.common import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from jaxclip.clip import Clip
    from jaxclip.pools import Pool
    from jaxclip.runs import Run


def run_model(run: "Run", source: str | None = None) -> "Clip":
    """The model a run was made with, at the run's dtype and image size.

    Args:
      source: where it is, if not where the run found it.

    Raises:
      ValueError, FileNotFoundError: it cannot be loaded, or it is another model.
    """
    import jaxclip
    from jaxclip.run_folder import model_hash

    held = run.info["model"]
    options = {"dtype": held["compute"]["dtype"], "precision": held["compute"]["precision"]}
    where = resolve(source or held["source"])
    try:
        clip = jaxclip.load(where, **options)
        if clip.config.vision.image_size != run.config.vision.image_size:
            clip = jaxclip.load(where, **options, image_size=run.config.vision.image_size)
    except (ValueError, OSError) as error:
        if source is not None:
            raise
        raise ValueError(f"the run's model cannot be loaded: {error} Say where it is with --model.") from error
    if model_hash(clip) != held["hash"]:
        raise ValueError(
            f"{source or held['source']} is not the model of {run.folder.name}, which was made with {held['name']} of "
            f"other weights; name the right one with --model."
        )
    return clip


def open_pool(name: str | None, run: "Run") -> "Pool":
    """A pool of texts.

    Args:
      name: "descriptions" is the shipped pool, "scenes" the scenes' own words, anything else a file. None is what
        suits the run: the scenes' words for the scenes, else the shipped pool.
    """
    from jaxclip import pools

    name = name or ("scenes" if run.info["data"]["kind"] == "scenes" else "descriptions")
    shipped = {"descriptions": pools.descriptions, "scenes": pools.scenes_pool}
    return shipped[name]() if name in shipped else pools.read_pool(name)


def pool_embeddings(
    pool: "Pool",
    run: "Run",
    source: str | None = None,
    clip: "Clip | None" = None,
    progress: "Callable[[int, int], None]" = lambda done, total: None,
) -> "Array":
    """Unit embeddings of a pool's texts: its own, or those of the run's text encoder.

    Args:
      source: of the run's model, as `run_model` takes it; nothing is loaded where the pool has embeddings.
      clip: the model, if it is loaded already.
      progress: called with the number of texts encoded and of all.

    Raises:
      ValueError: the pool's embeddings are of another size than the model's.
    """
    if pool.embeddings is None:
        from jaxclip.zeroshot import text_embeddings

        return text_embeddings(clip or run_model(run, source), pool.texts, progress=progress)
    import jax.numpy as jnp

    size = run.config.vision.embed_dim
    if pool.embeddings.shape[1] != size:
        raise ValueError(f"{pool.name} has embeddings of {pool.embeddings.shape[1]} numbers; the model has {size}.")
    return jnp.asarray(pool.embeddings)


def parse_heads(words: str) -> tuple[tuple[int, int], ...]:
    """ "5.2,5.3" as ((5, 2), (5, 3)): layer and head of each, both counted from 0.

    Raises:
      ValueError: anything else.
    """
    parts = [part.strip() for part in words.split(",")]
    if wrong := [part for part in parts if not re.fullmatch(r"\d+\.\d+", part, re.ASCII)]:
        raise ValueError(f"heads are given as layer.head, several with commas, such as 5.2,5.3; got {wrong[0]!r}.")
    return tuple((int(layer), int(head)) for layer, head in (part.split(".") for part in parts))
