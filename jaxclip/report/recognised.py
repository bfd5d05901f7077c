"""What a model was taken for, in words: what `convert` ends with, and the one line of `run`."""

from collections.abc import Mapping
from typing import Any

from jaxclip.config import ClipConfig, PreprocessConfig, TextConfig
from jaxclip.numerics.arrays import counted


def model_line(config: ClipConfig) -> str:
    """A model in one line: name, image tower, activation, preprocessing, whether it takes texts."""
    words = [_tower(config), config.vision.activation, _prepared(config.preprocess)]
    return f"model {config.name}: {'; '.join(words)}{'' if config.text else '; no text tower'}"


def recognised(config: ClipConfig, provenance: Mapping[str, Any]) -> dict[str, str]:
    """What a conversion found and decided, each with where it was read.

    Args:
      provenance: as `jaxclip.convert` writes it.
    """
    from jaxclip.convert.formats import format_named  # pyright: ignore[reportMissingImports]

    options, form = provenance["options"], format_named(provenance["layout"])

    def why(name: str) -> str:
        return f" ({options[name]['why']})" if name in options else ""

    files = [str(weights["file"]) for weights in provenance["weights"]]
    names = files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    found = {"weights": f"{form.words if form else provenance['layout']}, by the names in {names}{_place(provenance)}"}
    if "description" in options:
        found["description"] = f"{options['description']['value']}{why('description')}"
    found["architecture"] = f"{config.name}: {_tower(config)}, embedding {config.vision.embed_dim}{why('architecture')}"
    found["text tower"] = _text(config.text) if config.text else f"none: {config.text_missing}"
    found["activation"] = f"{config.vision.activation}{_other_activation(config)}{why('activation')}"
    found["preprocessing"] = f"{_prepared(config.preprocess)}, {_normalised(config.preprocess)}{why('preprocess')}"
    found["tokenizer"] = f"{options['tokenizer']['value']}{why('tokenizer')}"
    rows, columns = config.vision.grid
    resized = options.get("position_embedding")
    found["positions"] = f"{rows} x {columns} patches, {resized['why'] if resized else 'as stored'}"
    return found


def _tower(config: ClipConfig) -> str:
    vision = config.vision
    size, patch = (_by(pair) for pair in (vision.image_size, vision.patch_size))
    layers, heads = counted(vision.n_layers, "layer"), counted(vision.n_heads, "head")
    return f"ViT of {layers} with {heads}, width {vision.width}, {size} pixels in patches of {patch}"


def _text(text: TextConfig) -> str:
    layers, heads = counted(text.n_layers, "layer"), counted(text.n_heads, "head")
    return f"{layers} with {heads}, width {text.width}, {text.context} tokens of {text.vocab_size:,}"


def _other_activation(config: ClipConfig) -> str:
    same = config.text is None or config.text.activation == config.vision.activation
    return "" if same or config.text is None else f", {config.text.activation} in the text tower"


def _prepared(images: PreprocessConfig) -> str:
    library = getattr(images, "library", None)
    how = {"shortest": "shortest side, then centre crop", "squash": "squashed", "longest": "longest side, then padded"}
    return f"{images.interpolation}, {how[images.resize_mode]}{f', as {library} does' if library else ''}"


def _normalised(images: PreprocessConfig) -> str:
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (images.mean, images.std))
    return f"mean {mean}, deviation {std}"


def _by(sizes: tuple[int, int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else f"{sizes[0]} x {sizes[1]}"


def _place(provenance: Mapping[str, Any]) -> str:
    commit, key = provenance.get("commit"), provenance["options"].get("key")
    whence = f" of {provenance['repository']} at {str(commit)[:12]}" if commit else ""
    return f"{whence}, under {key['value']}" if key else whence
