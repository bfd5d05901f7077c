"""What commands ask of a model before and after it loads."""

from typing import TYPE_CHECKING

from jaxclip.cli.checks import resolve, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxclip.clip import Clip
    from jaxclip.config import ClipConfig


def model_config(
    model: str, *, image_size: int | None = None, heads: "Sequence[str]" = (), texts: bool = True
) -> "ClipConfig":
    """A model's config, before its weights are read.

    Args:
      model: as a command takes it.
      image_size: that it is to run at.
      heads: that it must have, as `jaxclip.model.head_names.chosen_heads` reads them.
      texts: whether it must take texts.

    Raises:
      ValueError, FileNotFoundError: there is no such model, or it cannot do what is asked.
    """
    from jaxclip.convert import describe  # pyright: ignore[reportMissingImports]
    from jaxclip.model.head_names import chosen_heads

    found = describe(resolve(model), image_size=image_size)
    if texts and found.no_texts:
        raise ValueError(found.no_texts)
    if heads:
        chosen_heads(heads, found.config.vision.n_layers, found.config.vision.n_heads)
    return found.config


def say_cut(clip: "Clip", texts: "Sequence[str]") -> None:
    """Tell of texts that are longer than the model reads: the tokenizer cuts them without a word."""
    rows = clip.tokenize(texts)
    n = rows.shape[1]
    for text, row, other in zip(texts, rows, clip.tokenizer(texts, n + 1), strict=True):
        # What fits stands in a longer row as it is, before or behind one more token of padding.
        if (row != other[:-1]).any() and (row != other[1:]).any():
            say(f"{text[:40]!r}..: longer than the {n} tokens that {clip.config.name} reads; the rest is left out.")
