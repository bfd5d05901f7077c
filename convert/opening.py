"""A checkpoint of any kind, ready to be made a CLIP of: converted before, or on the way."""

import warnings
from pathlib import Path
from typing import Any

from jaxclip.config import ClipConfig
from jaxclip.convert.formats import format_named
from jaxclip.convert.positions import resized
from jaxclip.convert.read import read
from jaxclip.files import checkpoint
from jaxclip.files.tokenizer_files import TokenizerSource
from jaxclip.tokenizer import ClipTokenizer, MissingTokenizer, Tokenizer, from_folder


def open_checkpoint(
    source: str | Path, *, image_size: int | tuple[int, int] | None = None, offline: bool = False, **options: Any
) -> tuple[ClipConfig, dict[str, Any], Tokenizer]:
    """Open a checkpoint of any kind as (config, parameters, tokenizer): a converted folder, or what `read` takes.

    Args:
      source: a folder that `convert` wrote, or any other checkpoint.
      image_size: pixels, one number or (height, width); position embeddings are resized when it is another one.
      offline: as `read` takes it.
      options: what a source cannot say of itself, for `read`.

    Raises:
      FileNotFoundError, ValueError: as in `jaxclip.files.checkpoint.load` and `read`.
    """
    if not checkpoint.is_checkpoint(source):
        config, params, words, _ = read(source, image_size=image_size, offline=offline, **options)
        return config, params, _tokenizer(words, config)
    given = {name: value for name, value in options.items() if value is not None}
    if given:
        raise ValueError(f"{source} is converted already, so {', '.join(given)} is settled; convert its source again.")
    held = checkpoint.load(source)
    form = format_named(str(held.provenance.get("layout")))
    library = form.library if form is not None else "open_clip"
    if library != "open_clip" and "library" not in held.provenance.get("options", {}):
        warnings.warn(
            f"{source} was converted when pictures and texts of such checkpoints were prepared as OpenCLIP does; "
            f"convert its source again to have them as {library} does.",
            stacklevel=3,
        )
    config, params = resized(held.config, held.params, image_size)
    return config, params, _tokenizer(held.tokenizer, config)


def _tokenizer(words: TokenizerSource, config: ClipConfig) -> Tokenizer:
    """Make the tokenizer; a checkpoint whose own cannot be used still loads, and asking for tokens then says why."""
    if words.kind == "missing" or config.text is None:
        return MissingTokenizer(words.why)
    try:
        if words.folder is None:
            return ClipTokenizer(context=config.text.context, **words.options)
        return from_folder(words.folder, config.text.context, **words.options)
    except (TypeError, ValueError, FileNotFoundError) as error:
        return MissingTokenizer(f"the checkpoint's own cannot be used: {error}")
