"""From picture files and texts to embeddings, side by side with the library that a checkpoint was made for: the same
pixels, the same token ids, the same embeddings.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import ExifTags, Image

from jaxclip.clip import Clip
from jaxclip.config import Library, PreprocessConfig
from jaxclip.files.images import explained, load, open_image, to_eight_bits
from jaxclip.numerics.arrays import counted
from jaxclip.verify import EMBEDDING_TOLERANCE, Check, compare, open_clip_model, relative_error
from jaxclip.verify.own_library import Own, origin, own_open_clip, own_transformers

PIXEL_TOLERANCE = 1e-3
"""Grey levels of 255: float32 sums, divided and multiplied by the deviation, keep more than four digits of one."""

TEXTS = (
    "a photo of a dog", "  A   Photo\tof\na DOG ", "caf\u00e9 and cafe\u0301", "AT&amp;T &lt;b&gt; &amp;amp;",
    "don\u2019t \u201cquote\u201d", "na\u00efve \u0130stanbul stra\u00dfe", "\U0001f600 smile \u2764\ufe0f",
    "\uff21\uff22\uff23 full width", "\u00c3\u00a9 mojibake", "one text of many words " * 40, "1234 5.6% !!!???...",
    "under_score_and-dash", "it's we'll they've", "\u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4", "",
)  # fmt: skip
"""What tokenizers differ in: white space, case, accents, entities, quotes, digits, other scripts, length."""


def against_libraries(
    clip: Clip,
    source: str | Path,
    probes: Float[np.ndarray, "batch height width channel"],
    files: Sequence[Path],
    there: Collection[Library],
) -> tuple[list[Check], list[str]]:
    """All rows that PyTorch's libraries have to do with, and what else there is to say.

    Args:
      clip: what jaxclip loaded.
      source: where from.
      probes: normalised images for towers and heads.
      files: pictures to compare from the file on; none for those of `drawn_pictures`.
      there: the libraries that can be imported here, as `own_library.lacking` says.
    """
    source = origin(source)
    theirs = open_clip_model(clip, source) if "open_clip" in there else None
    checks = [] if theirs is None else list(compare(clip, source, probes, theirs))
    if clip.config.preprocess.library not in there:
        return checks, []
    if clip.config.preprocess.library == "transformers":
        own = own_transformers(clip, source, theirs[0] if theirs else None)
    else:
        assert theirs is not None  # the library is open_clip, and there
        own = own_open_clip(clip, source, *theirs)
    with TemporaryDirectory() as scratch:
        compared, said = compare_files(clip, own, files or drawn_pictures(Path(scratch), clip.config.preprocess.size))
    return checks + compared, said


def drawn_pictures(folder: Path, size: tuple[int, int]) -> list[Path]:
    """Picture files in which libraries differ: crops of half a pixel, every mode, and 16 bits.

    Args:
      folder: where they are written.
      size: height and width of a model's input.
    """
    height, width = size
    shapes = {
        "odd.jpg": (2 * height + 37, width + 41), "wide.png": (height, width + 3), "tall.png": (height + 7, width),
        "small.png": (height // 2 + 1, width // 3 + 1),
    }  # fmt: skip
    made = {name: _colour(shape) for name, shape in shapes.items()}
    base = _colour((height + 13, width + 22))
    alpha, clear = base.convert("RGBA"), base.quantize(32)
    alpha.putalpha(base.getchannel("R"))
    clear.info["transparency"] = 3
    made |= {
        "alpha.png": alpha, "palette.png": base.quantize(64), "clear_palette.png": clear, "grey.png": base.convert("L"),
        "grey_alpha.png": alpha.convert("LA"), "two_levels.png": base.convert("1"), "cmyk.jpg": base.convert("CMYK"),
        "turned.jpg": base,
    }  # fmt: skip
    deep = np.asarray(base.convert("L")).astype(np.uint16) * 257
    made["sixteen_bits.png"] = Image.fromarray(deep)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    paths = [folder / name for name in made]
    for path, image in zip(paths, made.values(), strict=True):
        more: dict[str, Any] = {"exif": exif} if path.name == "turned.jpg" else {}
        image.save(path, **more)
    return paths


def compare_files(
    clip: Clip, own: Own, files: Sequence[Path], texts: Sequence[str] = TEXTS
) -> tuple[list[Check], list[str]]:
    """Rows for pixels, token ids and both embeddings, and what else there is to say.

    16 bits a channel are scaled to 8 here and cut off at 255 by either library, which is said of each such file; the
    library gets it scaled.

    Args:
      clip: what jaxclip loaded.
      own: the same checkpoint in its own library.
      files: pictures, at least one.
      texts: at least one.

    Raises:
      FileNotFoundError, ValueError: a file is no picture, naming it.
    """
    ours = clip.preprocess(list(files), apply_exif=False)
    said: list[str] = []
    theirs = np.stack([_their_pixels(own, path, clip.config.preprocess, said) for path in files])
    levels = _levels(ours, theirs, clip)
    worst = int(levels.argmax())
    at = "" if levels[worst] <= PIXEL_TOLERANCE else f", most in {files[worst].name}"
    number = counted(len(files), "picture file")
    checks = [Check(f"pixels of {number}, {own.reader}{at}", float(levels[worst]), PIXEL_TOLERANCE, "levels")]
    rows, kept = (None, None) if own.ids is None else own.ids(texts)
    if rows is not None and kept is not None:
        differ = ((clip.tokenize(list(texts)) != rows) & kept).any(1)
        first = f", first {texts[int(differ.argmax())]!r}" if differ.any() else ""
        checks.append(
            Check(f"token ids of {counted(len(texts), 'text')}, {own.reader}{first}", float(differ.sum()), 0.0, "texts")
        )
    if own.image is not None:
        error = relative_error(clip.encode_image(ours), own.image(theirs))
        checks.append(Check(f"embedding of {number}, {own.whose}", error, EMBEDDING_TOLERANCE))
    if own.text is not None and rows is not None:
        error = relative_error(clip.encode_text(list(texts)), own.text(rows, kept))
        checks.append(Check(f"embedding of {counted(len(texts), 'text')}, {own.whose}", error, EMBEDDING_TOLERANCE))
    return checks, said


def _their_pixels(own: Own, path: Path, config: PreprocessConfig, said: list[str]) -> Any:
    with explained(path):
        with open_image(path) as image:
            load(image)
        scaled = to_eight_bits(image)
    found = own.pixels(scaled)
    if scaled is not image:
        apart = float((np.abs(own.pixels(image) - found) * config.std).max() * 255)
        said.append(
            f"{path.name} has 16 bits a channel, which {own.reader} cuts off at 255 and jaxclip scales to 8 bits (up "
            f"to {apart:.0f} levels apart); compared as scaled"
        )
    return found


def _levels(ours: Any, theirs: Any, clip: Clip) -> Any:
    """The largest difference of each picture in grey levels."""
    return (np.abs(ours - theirs) * (255 * np.array(clip.config.preprocess.std))).max((1, 2, 3))


def _colour(shape: tuple[int, int]) -> Image.Image:
    """A picture of edges, slopes and noise."""
    rng = np.random.default_rng(shape[0] * 4096 + shape[1])
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    slopes = np.stack([x * 255 / shape[1], y * 255 / shape[0], 255 * ((x // 7 + y // 5) % 2)], -1)
    return Image.fromarray(np.uint8((slopes + rng.integers(0, 256, slopes.shape)) / 2))
