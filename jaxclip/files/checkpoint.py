"""A converted model on disk: a folder that needs nothing else, and is either complete or not there.

    weights/          the parameter tree, in Orbax's format
    config.json       both towers, preprocessing, and which tokenizer
    tokenizer/        its files, where the checkpoint brings its own
    provenance.json   where the weights come from and what was decided on the way
    manifest.json     size and SHA-256 of every file; written last

A folder is written under another name beside its place and renamed when its manifest is on disk.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxclip.config import ClipConfig
from jaxclip.files.atomic import (
    MANIFEST,
    appears_whole,
    check_files,
    check_space,
    inventory,
    leftovers,
    put_back,
    read_json,
    taken_away,
    where_left,
    write_json,
)
from jaxclip.files.plain import is_there, read_bytes
from jaxclip.files.tokenizer_files import TOKENIZER_FILES, TokenizerSource
from jaxclip.files.weights import read_weights, write_weights
from jaxclip.files.whole import write_whole
from jaxclip.model.params import check_shapes, flatten

FORMAT = 2
CONFIG, PROVENANCE, WEIGHTS, TOKENIZER = "config.json", "provenance.json", "weights", "tokenizer"


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds. `params` is the nested tree of `jaxclip.model.params`."""

    config: ClipConfig
    params: dict[str, Any]
    tokenizer: TokenizerSource
    provenance: dict[str, Any]


def is_checkpoint(folder: str | Path) -> bool:
    """Tell whether a path is a complete folder of this format."""
    path = Path(folder)
    return is_there(path / MANIFEST) and is_there(path / CONFIG)


def tell_leftovers(folder: Path) -> None:
    """Put back what a killed conversion into `folder` took away, and name what it left, as a warning."""
    if put_back(folder):
        warnings.warn(f"{folder} was put back: a conversion was killed while it replaced it.", stacklevel=2)
    kept = taken_away(folder)  # more than one: nobody knows which
    for path in kept:
        warnings.warn(f"{path} is what {folder} was before a conversion was killed; move or delete it.", stacklevel=2)
    for path in leftovers(folder):
        if path / folder.name not in kept:
            warnings.warn(f"{path} is left of a conversion that was killed, and not needed; delete it.", stacklevel=2)


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse an output that exists before any work is done for it.

    Raises:
      FileExistsError: it exists; with `overwrite`, only if it is not a folder of this format.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not overwrite:
        raise FileExistsError(f"{folder} exists; pass overwrite=True, or name another folder.")
    if not is_checkpoint(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} exists and is no converted checkpoint; it is not replaced. Name another folder."
        )


def save(
    folder: str | Path,
    config: ClipConfig,
    params: Mapping[str, Any],
    *,
    provenance: Mapping[str, Any],
    tokenizer: TokenizerSource,
    overwrite: bool = False,
    consume: bool = False,
) -> Path:
    """Write a checkpoint; the folder appears complete or not at all.

    `load(save(folder, config, params, ...))` has the same config and the same parameters, bit for bit.

    Args:
      folder: where; its parent is made if it does not exist.
      config: what the parameters are.
      params: nested tree, or any pytree of dicts with the paths of `jaxclip.model.params.shapes(config)`.
      provenance: JSON types only.
      tokenizer: copied when it is the checkpoint's own.
      overwrite: replace a checkpoint that is there, once the new one is complete.
      consume: empty `params` while saving.

    Raises:
      FileExistsError: the folder exists.
      ValueError: the parameters are not those of the config.
      OSError: the disk is full or cannot be written; nothing is left behind.
    """
    folder = Path(folder).absolute()
    check_free(folder, overwrite=overwrite)
    leaves = dict(flatten(params))
    check_shapes(config, {path: tuple(np.shape(leaf)) for path, leaf in leaves.items()})
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_space(folder.parent, sum(leaf.nbytes for leaf in leaves.values()))
    with appears_whole(folder) as draft:
        write_weights(draft / WEIGHTS, leaves)
        if consume and isinstance(params, dict):
            params.clear()
        _write_tokenizer(draft / TOKENIZER, tokenizer)
        fields = {"kind": tokenizer.kind, "why": tokenizer.why, "options": tokenizer.options}
        write_json(draft / CONFIG, {"format": FORMAT, **config.to_dict(), "tokenizer": fields})
        write_json(draft / PROVENANCE, dict(provenance))
        write_json(draft / MANIFEST, {"format": FORMAT, "files": inventory(draft)})
    return folder


def load(folder: str | Path, *, shardings: Mapping[str, Any] | None = None, dtype: Any = None) -> Checkpoint:
    """Read a checkpoint back.

    Args:
      folder: what `save` returned.
      shardings: `jax.sharding.Sharding` by dotted path; those parameters are read straight to their devices, the
        others become NumPy arrays.
      dtype: of the parameters; None keeps the saved one.

    Raises:
      FileNotFoundError: there is no complete checkpoint.
      ValueError: a file is not what the manifest says, or the weights are not those of the config.
    """
    folder = Path(folder).absolute()
    if not is_checkpoint(folder):
        raise FileNotFoundError(
            f"{folder} is no converted checkpoint: it has no {MANIFEST}. Run `jaxclip convert`.{where_left(folder)}"
        )
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise ValueError(
            f"{folder} has format {manifest.get('format')!r}; this version reads {FORMAT}. Convert it again."
        )
    # First, though hashing could go on beside reading: damaged weights that reach Orbax leave its threads behind.
    check_files(folder, manifest)
    config, tokenizer = described(folder)
    params = read_weights(folder / WEIGHTS, config, shardings or {}, dtype)
    return Checkpoint(config, params, tokenizer, provenance(folder))


def provenance(folder: Path) -> dict[str, Any]:
    """Read where a checkpoint's weights come from and what was decided on the way, as `jaxclip.convert` wrote it.

    Raises:
      ValueError: something in it is of another kind; what is missing is left out.
    """
    told = read_json(folder / PROVENANCE)
    options, weights = told.get("options", {}), told.get("weights", [])
    words = [told.get(name) for name in ("source", "repository", "commit", "layout")]
    if not (
        isinstance(options, dict)
        and isinstance(weights, list)
        and all(isinstance(one, dict) for one in (*options.values(), *weights))
        and all(isinstance(one.get("file"), str) for one in weights)
        and all(word is None or isinstance(word, str) for word in words)
    ):
        raise ValueError(f"{folder / PROVENANCE} says nothing of where a model comes from; convert it again.")
    return told


def described(folder: Path) -> tuple[ClipConfig, TokenizerSource]:
    """What a checkpoint's config.json says, and nothing else is read."""
    fields = read_json(folder / CONFIG)
    try:
        own = folder / TOKENIZER if fields["tokenizer"]["kind"] == "own" else None
        return ClipConfig.from_dict(_tuples(fields)), TokenizerSource(**fields["tokenizer"], folder=own)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"{folder / CONFIG} describes no model ({error!s:.200}); convert it again.") from error


def _write_tokenizer(folder: Path, tokenizer: TokenizerSource) -> None:
    if tokenizer.folder is None:
        return
    folder.mkdir()
    for path in sorted(tokenizer.folder.iterdir()):
        if path.name in TOKENIZER_FILES and is_there(path):
            write_whole(folder / path.name, read_bytes(path))
    # Where its own files name no class, transformers takes that of the model beside them.
    beside = tokenizer.folder / CONFIG
    kind = read_json(beside).get("model_type") if is_there(beside) else None
    if isinstance(kind, str):
        write_json(folder / CONFIG, {"model_type": kind})


def _tuples(fields: Any) -> Any:
    """JSON has lists where the configs have tuples."""
    if isinstance(fields, dict):
        return {key: _tuples(value) for key, value in fields.items()}
    return tuple(_tuples(value) for value in fields) if isinstance(fields, list) else fields
