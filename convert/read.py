"""The two ways in: `read` into memory, `convert` into a folder."""

import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxclip.config import Activation, ClipConfig, PreprocessConfig
from jaxclip.convert.apply import fill
from jaxclip.convert.formats.format import Claim
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.convert.settle import Settled, Wishes, check_wishes, settle
from jaxclip.convert.sources import Source, locate
from jaxclip.convert.tokenizers import find_tokenizer
from jaxclip.files import checkpoint
from jaxclip.files.checksums import sha256
from jaxclip.files.tokenizer_files import TokenizerSource

DTYPES = ("float32", "bfloat16", "float16")


def read(
    source: str | Path,
    *,
    like: str | None = None,
    model: str | None = None,
    activation: Activation | None = None,
    preprocess: PreprocessConfig | Mapping[str, Any] | str | None = None,
    dtype: str = "float32",
    image_size: int | tuple[int, int] | None = None,
    key: str | None = None,
    offline: bool = False,
) -> tuple[ClipConfig, dict[str, Any], TokenizerSource, dict[str, Any]]:
    """Read a checkpoint of any kind as (config, parameter tree of NumPy arrays, tokenizer, provenance).

    Activation and preprocessing come from the tag or from the checkpoint's own files.

    Args:
      source: a file, a folder, `model/tag` of OpenCLIP's native models, or a repository (`hf-hub:org/repo`).
      like: `model/tag` that says everything about weights that come without a configuration.
      model: architecture by name, or a JSON file with OpenCLIP's `model_cfg`, for weights that come without a
        configuration; then pass `activation` and `preprocess` too.
      activation: what the weights were trained with; contradicting the tag or the configuration is an error.
      preprocess: a PreprocessConfig, its fields without `size`, or the name of a style.
      dtype: of the parameters: float32, bfloat16 or float16.
      image_size: pixels, one number or (height, width); position embeddings are resized when it is not the
        checkpoint's own.
      key: where in a file the CLIP is, such as "state_dict_ema" or "state_dict.model", for files that hold several, or
        other weights beside it.
      offline: take from the hub only what its cache holds; set it for names that come out of a file.

    Raises:
      FileNotFoundError: nothing is there.
      CheckpointError: it cannot be read, or does not say enough; the message says what to pass.
    """
    opened, settled, tokenizer = _open(
        source, Wishes(like, model, activation, preprocess, image_size), dtype, key, offline
    )
    said = settled.choices.get("description")
    if said is not None and opened.aside is None:  # a conversion ends with this; loading alone would never say it
        warnings.warn(f"{opened.label} is read by {said.value}: {said.words}.", stacklevel=4)
    params = fill(opened.tensors, settled.config, opened.format, dtype, settled.source_grid)
    return settled.config, params, tokenizer, _provenance(opened, settled, tokenizer, dtype)


def convert(
    source: str | Path,
    out: str | Path,
    *,
    like: str | None = None,
    model: str | None = None,
    activation: Activation | None = None,
    preprocess: PreprocessConfig | Mapping[str, Any] | str | None = None,
    dtype: str = "float32",
    image_size: int | tuple[int, int] | None = None,
    key: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Port a checkpoint into a folder that needs nothing else: weights, config, tokenizer, preprocessing, provenance.

    The folder appears under its name only when it is complete; `jaxclip.files.checkpoint.load(convert(x, out))` holds
    what `read(x)` returns.

    Args:
      source: and all other arguments as in `read`.
      out: the folder to make.
      overwrite: replace a folder that exists, once the new one is complete.

    Raises:
      FileExistsError: `out` exists and `overwrite` is not set.
      FileNotFoundError, CheckpointError: as in `read`.
      OSError: the disk is full; nothing is left behind.
    """
    checkpoint.tell_leftovers(Path(out).absolute())
    checkpoint.check_free(Path(out), overwrite=overwrite)
    opened, settled, tokenizer = _open(source, Wishes(like, model, activation, preprocess, image_size), dtype, key)
    params = fill(opened.tensors, settled.config, opened.format, dtype, settled.source_grid)
    provenance = _provenance(opened, settled, tokenizer, dtype)
    for entry, path in zip(provenance["weights"], opened.files, strict=True):
        entry["sha256"] = sha256(path)
    return checkpoint.save(
        out, settled.config, params, provenance=provenance, tokenizer=tokenizer, overwrite=overwrite, consume=True
    )


def _open(
    source: str | Path, wishes: Wishes, dtype: str, key: str | None, offline: bool = False
) -> tuple[Source, Settled, TokenizerSource]:
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    if checkpoint.is_checkpoint(source):
        raise CheckpointError(f"{source} is converted already; open it with jaxclip.load.")
    check_wishes(wishes)
    located = locate(source, offline=offline)
    described = located.described()
    if described is not None:  # what cannot be read or contradicts the caller is said before anything is fetched
        settle(described, wishes)
    opened = located.open(key)
    settled = settle(opened, wishes)
    return opened, settled, find_tokenizer(opened, settled.config, settled.text_cfg)


def _provenance(source: Source, settled: Settled, tokenizer: TokenizerSource, dtype: str) -> dict[str, Any]:
    kept = ", ".join(sorted({tensor.dtype for tensor in source.tensors.values()}))
    commit = getattr(source.home, "commit", None)
    library = settled.config.preprocess.library
    claims = dict(settled.choices)
    if source.place:
        claims["key"] = Claim(source.place, "files", "where the CLIP is in its file")
    claims["library"] = Claim(library, "files", "whose way pictures and positions are read")
    claims["dtype"] = Claim(dtype, "caller", f"the caller's choice or the default; the file holds {kept}")
    claims["tokenizer"] = Claim(tokenizer.kind, "files", tokenizer.why)
    return {
        "source": source.label,
        "repository": source.home.name if source.home is not None and commit else None,
        "commit": commit,
        "layout": source.format.name,
        "weights": [{"file": path.name, "bytes": path.stat().st_size} for path in source.files],
        "options": {
            name: {"value": claim.value, "by": claim.source, "why": claim.words} for name, claim in claims.items()
        },
        "versions": {name: version(name) for name in ("jaxclip", "jax", "numpy", "orbax-checkpoint")},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
