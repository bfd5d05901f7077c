"""What analyses of a run read besides it: its model, and pools of texts with their embeddings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax.numpy as jnp
from jaxtyping import Array, Float

import jaxclip.clip
from jaxclip.clip import Clip
from jaxclip.convert import describe  # pyright: ignore[reportMissingImports]
from jaxclip.data import text_pools
from jaxclip.data.text_pools import Pool
from jaxclip.numerics.arrays import counted
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.runs.folder import model_hash
from jaxclip.runs.run import Run
from jaxclip.zeroshot import text_embeddings


def check_model(run: Run, source: str | None = None, *, texts: bool = True) -> None:
    """Check what can be known of a run's model before its weights are read.

    Args:
      run: of which run.json is enough.
      source: as `run_model` takes it.
      texts: whether it must take texts.

    Raises:
      ValueError, FileNotFoundError: it is not there, of another shape, or takes no texts.
    """
    with _found(source):
        _known(run, source, texts=texts)


def run_model(run: Run, source: str | None = None) -> Clip:
    """Load the model a run was made with, at the run's dtype and image size.

    Args:
      source: where it is, as the user says; by default where the run found it, if that is on disk or in the hub's
        cache.

    Raises:
      ValueError, FileNotFoundError: it cannot be loaded, or it is another model.
    """
    held = run.info["model"]
    options = {"dtype": held["compute"]["dtype"], "precision": held["compute"]["precision"]}
    with _found(source):
        size = _known(run, source, texts=False)
        where, asked = _place(run, source)
        clip = jaxclip.clip.load(where, **options, image_size=size, offline=not asked)
    if model_hash(clip) != held["hash"]:
        raise _other(run, source)
    return clip


def _known(run: Run, source: str | None, *, texts: bool) -> tuple[int, int] | None:
    """Find the image size to load a run's model at, if not its own."""
    wanted, (where, asked) = run.config, _place(run, source)
    found, size = describe(where, offline=not asked), None
    if found.config.vision.image_size != wanted.vision.image_size:
        size = wanted.vision.image_size
        found = describe(where, image_size=size, offline=not asked)
    # Its hash is of both of these, and of the weights.
    if (found.config.vision, found.config.preprocess) != (wanted.vision, wanted.preprocess):
        raise _other(run, source)
    if texts and found.no_texts:
        raise ValueError(found.no_texts)
    return size


def _place(run: Run, source: str | None) -> tuple[str, bool]:
    """Find where a run's model is, and whether anybody typed that: run.json's words may be somebody else's, which
    the network is never asked about."""
    if where := source or run.info["model"]["source"]:
        return where, source is not None
    raise ValueError(
        f"{run.folder} does not say where it is, for it was made in Python from a Clip that jaxclip.load did not give "
        f"as it was, or only with options of its own; a folder of `jaxclip convert` needs none."
    )


class _OtherError(ValueError):
    """A model that is there, and is not the run's."""


def _other(run: Run, source: str | None) -> _OtherError:
    held = run.info["model"]
    return _OtherError(
        f"{source or held['source']} is not the model of {run.folder.name}, which was made with {held['name']} of "
        f"other weights; name the right one with --model."
    )


@contextmanager
def _found(source: str | None) -> Iterator[None]:
    """Say in an error how to name the model, where nobody named one."""
    try:
        yield
    except _OtherError:
        raise
    except (ValueError, OSError) as error:
        if source is not None:
            raise
        raise ValueError(f"the run's model cannot be loaded: {error} Say where it is with --model.") from error


def open_pool(name: str | None, run: Run) -> Pool:
    """Open a pool of texts.

    Args:
      name: "descriptions" is the shipped pool, "scenes" the scenes' own words, anything else a file. None is what
        suits the run: the scenes' words for the scenes, else the shipped pool.
      run: of which run.json is enough.

    Raises:
      ValueError: the pool's embeddings are of another size than the model's.
    """
    name = name or ("scenes" if run.info["data"]["kind"] == "scenes" else "descriptions")
    shipped = {"descriptions": text_pools.descriptions, "scenes": text_pools.scenes_pool}
    pool, size = shipped[name]() if name in shipped else text_pools.read_pool(name), run.config.vision.embed_dim
    if pool.embeddings is not None and pool.embeddings.shape[1] != size:
        numbers = counted(pool.embeddings.shape[1], "number")
        raise ValueError(f"{pool.name} has embeddings of {numbers}; the model has {size}.")
    return pool


@on_own_terms
def pool_embeddings(
    pool: Pool,
    run: Run,
    source: str | None = None,
    clip: Clip | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Float[Array, "text embed"]:
    """Return unit embeddings of a pool's texts: its own, or those of the run's text encoder.

    Args:
      source: of the run's model, as `run_model` takes it; nothing is loaded where the pool has embeddings.
      clip: the model, if it is loaded already.
      progress: called with the number of texts encoded and of all.
    """
    if pool.embeddings is None:
        return text_embeddings(clip or run_model(run, source), pool.texts, progress=progress)
    return jnp.asarray(pool.embeddings)
