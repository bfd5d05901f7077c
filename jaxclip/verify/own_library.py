"""A checkpoint as the library that it was made for has it, in PyTorch: what that makes of a picture, of a text, and of
the weights. Beside `jaxclip.verify` the one file that knows PyTorch exists; both ask for it by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer
from PIL import Image

from jaxclip.clip import Clip
from jaxclip.config import Library, PreprocessConfig
from jaxclip.files import checkpoint
from jaxclip.files.checksums import sha256
from jaxclip.files.plain import is_there
from jaxclip.files.tokenizer_files import TokenizerSource
from jaxclip.tokenizer import MissingTokenizer, write_clip_files

NEEDS: dict[Library, tuple[str, ...]] = {
    "open_clip": ("torch", "torchvision", "open_clip"),
    "transformers": ("torch", "transformers"),
}
_PACKAGES = {"open_clip": "open_clip_torch"}
_THEIR_WEIGHTS = {
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
}  # fmt: skip
_PIL_FILTERS = {"nearest": 0, "bilinear": 2, "bicubic": 3}


Ids = tuple[Integer[np.ndarray, "text position"], Bool[np.ndarray, "text position"]]
"""Rows of token ids, and where they count: of padding only what a library's model reads does."""


@dataclass(frozen=True)
class Own:
    """A checkpoint in its own library.

    `reader` names who makes pixels and ids, `whose` whose loading of the weights it is. `pixels` is the model's input
    of one picture, `ids` are those of texts, None where it has no tokenizer. `image` and `text` are the embeddings of
    such inputs, None where the weights cannot be loaded.
    """

    reader: str
    whose: str
    pixels: Callable[[Image.Image], Float[np.ndarray, "height width channel"]]
    ids: Callable[[Sequence[str]], Ids] | None
    image: Callable[[Float[np.ndarray, "batch height width channel"]], Float[np.ndarray, "batch embed"]] | None
    text: Callable[[Any, Any], Float[np.ndarray, "text embed"]] | None


def lacking(library: Library) -> str | None:
    """Why nothing can be compared with a library here, in one sentence with what to install; None where it can."""
    try:
        import_module("open_clip" if library == "open_clip" else "transformers.models.clip.modeling_clip")
    except Exception as error:  # torchvision built for another torch raises RuntimeError, and others what they like
        needs = ", ".join(NEEDS[library])
        if absent := [name for name in NEEDS[library] if not _installed(name)]:
            listed = " and ".join(filter(None, (", ".join(absent[:-1]), absent[-1])))
            packages = " ".join(_PACKAGES.get(name, name) for name in absent)
            return f"not compared with {library}, which needs {needs}; {listed} missing here: pip install {packages}"
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return (
            f"not compared with {library}, which is installed and cannot be imported ({first:.200}): install versions "
            f"of {needs} that belong together"
        )
    return None


def origin(source: str | Path) -> str | Path:
    """What a converted folder was made of, where that still lies here byte for byte and nothing was changed on the way;
    anything else as it is."""
    if not checkpoint.is_checkpoint(source):
        return source
    told = checkpoint.provenance(Path(source))
    options = {"dtype": {}, **told.get("options", {})}
    passed = [name for name, one in options.items() if name != "dtype" and one.get("by", "caller") == "caller"]
    if passed or "key" in options or options["dtype"].get("value") != "float32" or not told.get("weights"):
        return source
    place = Path(str(told.get("source")).removeprefix("local-dir:")).expanduser()
    files = [(weights["file"], weights.get("sha256")) for weights in told["weights"]]
    if told.get("commit"):
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(told["repository"], files[0][0], revision=told["commit"])
        place = Path(cached).parent if isinstance(cached, str) else place
    folder = place if place.is_dir() else place.parent
    same = all(is_there(folder / name) and sha256(folder / name) == digest for name, digest in files)
    return place if same else source


def own_transformers(clip: Clip, source: str | Path, exported: Any) -> Own:
    """A checkpoint in transformers, read from its own files.

    Args:
      clip: what jaxclip loaded.
      source: where from; of a converted folder that has lost its origin the settings that it keeps are given.
      exported: open_clip's model of the weights, for those that transformers does not load; or None.
    """
    transformers = import_module("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = their_folder(source)
    name = f"transformers {transformers.__version__} on Pillow"
    processor = None if folder is None else _processor(folder)
    if processor is None:
        processor, name = _configured(clip.config.preprocess), f"{name}, given the settings that jaxclip has read"
    model = None if folder is None else _clip_model(folder)

    def pixels(image: Image.Image) -> Any:
        return processor(images=image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)

    context = 0 if clip.config.text is None else clip.config.text.context
    tokenizer = None if isinstance(clip.tokenizer, MissingTokenizer) else _their_tokenizer(source)

    def ids(texts: Sequence[str]) -> Any:
        assert tokenizer is not None
        rows = tokenizer(list(texts), max_length=context, truncation=True, padding="max_length", return_tensors="np")
        return rows["input_ids"], rows["attention_mask"].astype(bool)

    asked = None if tokenizer is None else ids
    if model is None:
        return Own(name, "weights exported to open_clip", pixels, asked, *_encoders(exported))
    torch = import_module("torch")

    def features(method: Any, **given: Any) -> Any:
        with torch.no_grad():
            found = method(**{key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in given.items()})
        return getattr(found, "pooler_output", found).numpy()  # since transformers 5 it stands in an output

    return Own(
        name, "transformers' own loading", pixels, asked,
        lambda images: features(model.get_image_features, pixel_values=images.transpose(0, 3, 1, 2)),
        lambda rows, kept: features(model.get_text_features, input_ids=rows, attention_mask=kept.astype(np.int64)),
    )  # fmt: skip


def own_open_clip(clip: Clip, source: str | Path, model: Any, whose: str) -> Own:
    """A checkpoint in open_clip.

    Args:
      clip: what jaxclip loaded.
      source: where from.
      model: open_clip's, as `verify.open_clip_model` gives it.
      whose: loading it is.
    """
    open_clip = import_module("open_clip")
    module = import_module("open_clip.transform")
    transform = module.image_transform_v2(module.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    tokenizer = None
    if clip.config.text is not None and not isinstance(clip.tokenizer, MissingTokenizer):
        words, context = _words(source), clip.config.text.context
        kinds = import_module("open_clip.tokenizer")
        made = kinds.SimpleTokenizer if words.folder is None else kinds.HFTokenizer
        named = () if words.folder is None else (str(words.folder),)
        tokenizer = made(*named, context_length=context, **words.options)

    def ids(texts: Sequence[str]) -> Any:
        assert tokenizer is not None
        rows = tokenizer(list(texts)).numpy()
        return rows, np.ones(rows.shape, bool)

    image, text = _encoders(model)
    return Own(
        f"open_clip {open_clip.__version__}", whose, lambda image: transform(image).numpy().transpose(1, 2, 0),
        None if tokenizer is None else ids, image, text,
    )  # fmt: skip


def their_folder(source: str | Path) -> Path | None:
    """The folder on disk that transformers would load a source from; None where there is none, or where it would take
    other weights than jaxclip."""
    text = str(source)
    path = Path(text.removeprefix("local-dir:")).expanduser()
    if path.is_file() and path.name in _THEIR_WEIGHTS:
        path = path.parent
    if not path.exists():
        convert: Any = import_module("jaxclip.convert.readers.hub")
        repository = convert.parse_repository(text.removeprefix("hf-hub:"), offline=True)
        found = repository.cached("config.json") if repository is not None else None
        path = path if found is None else found.parent
    return path if is_there(path / "config.json") and not checkpoint.is_checkpoint(path) else None


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _encoders(model: Any) -> tuple[Any, Any]:
    """Embeddings by a model of open_clip's."""
    if model is None:
        return None, None
    torch = import_module("torch")

    def image(images: Any) -> Any:
        with torch.no_grad():
            return model.encode_image(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()

    def text(rows: Any, _kept: Any) -> Any:
        with torch.no_grad():
            return model.encode_text(torch.from_numpy(rows.astype(np.int64))).numpy()

    return image, text


def _clip_model(folder: Path) -> Any:
    """transformers' model of a folder; None where it does not find all of its weights there."""
    transformers = import_module("transformers")
    try:
        model, found = transformers.CLIPModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception:  # whatever its readers raise of other people's files
        return None
    return None if found["missing_keys"] or found["mismatched_keys"] else model.eval().float()


def _processor(folder: Path) -> Any:
    """transformers' image processor of a folder, on Pillow: the one on torchvision rounds otherwise."""
    on_pillow = {"backend": "pil"} if _installed("transformers.image_processing_backends") else {"use_fast": False}
    try:
        processors = import_module("transformers").AutoImageProcessor
        return processors.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **on_pillow)
    except Exception:
        return None


def _configured(images: PreprocessConfig) -> Any:
    height, width = images.size
    box = {"height": height, "width": width}
    squash = images.resize_mode == "squash"
    old, new = "transformers.models.clip.image_processing_clip", "transformers.models.clip.image_processing_pil_clip"
    made: Any = import_module(new).CLIPImageProcessorPil if _installed(new) else import_module(old).CLIPImageProcessor
    return made(
        size=box if squash else {"shortest_edge": min(height, width)}, crop_size=box, do_center_crop=not squash,
        resample=_PIL_FILTERS[images.interpolation], image_mean=list(images.mean), image_std=list(images.std),
    )  # fmt: skip


def _words(source: str | Path) -> TokenizerSource:
    if checkpoint.is_checkpoint(source):
        return checkpoint.described(Path(source))[1]
    convert: Any = import_module("jaxclip.convert")
    return convert.describe(source).words


def _their_tokenizer(source: str | Path) -> Any:
    """transformers' tokenizer of a checkpoint's files, or of CLIP's own vocabulary where it has none."""
    tokenizers = import_module("transformers").AutoTokenizer
    own = _words(source).folder
    if own is not None:
        return tokenizers.from_pretrained(own, local_files_only=True, trust_remote_code=False)
    with TemporaryDirectory() as scratch:
        write_clip_files(Path(scratch))
        return tokenizers.from_pretrained(scratch, local_files_only=True)
