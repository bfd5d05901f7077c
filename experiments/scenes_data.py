"""Draws a split of the scenes into plain arrays, on all cores: `python experiments/scenes_data.py OUT SPLIT N`.

A folder that is complete and was drawn by the same code with the same settings is used again.
"""

import argparse
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

import jaxclip.data.scenes as scenes

TOKENIZER = Path(scenes.__file__).parent / "scenes_clip" / "tokenizer.json"
CONTEXT = 32
_PER_TASK = 256


@dataclass(frozen=True)
class Request:
    """What to draw; `pixels` is the height and width of an image."""

    split: scenes.Split
    n_scenes: int
    pixels: int
    n_captions: int
    seed: int


def tokenizer() -> Tokenizer:
    """The scenes' tokenizer, padding and cutting to the context."""
    backend = Tokenizer.from_file(str(TOKENIZER))
    backend.enable_padding(length=CONTEXT, pad_id=0, pad_token="<pad>")
    backend.enable_truncation(CONTEXT)
    return backend


def tokenize(backend: Tokenizer, texts: list[str]) -> np.ndarray:
    return np.array([encoding.ids for encoding in backend.encode_batch(texts)], np.uint16)


def ensure(out: Path, request: Request) -> dict[str, Any]:
    """The arrays of a split, drawn first if need be: `images`, `tokens [n, caption, position]` and one array of
    labels per factor. Images are mapped from disk."""
    if _stamp(out) != _expected(request):
        _draw(out, request)
    labels = dict(np.load(out / "labels.npz"))
    return {"images": np.load(out / "images.npy", mmap_mode="r"), "tokens": np.load(out / "tokens.npy"), **labels}


def _expected(request: Request) -> dict[str, Any]:
    sources = [*sorted(Path(scenes.__file__).parent.glob("*.py")), TOKENIZER]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return asdict(request) | {"code": digest}


def _stamp(out: Path) -> dict[str, Any] | None:
    path = out / "complete.json"
    return json.loads(path.read_text()) if path.exists() else None


def _draw(out: Path, request: Request) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    n, pixels = request.n_scenes, request.pixels
    for name, shape, dtype in (
        ("images", (n, pixels, pixels, 3), np.uint8), ("tokens", (n, request.n_captions, CONTEXT), np.uint16),
    ):  # fmt: skip
        np.lib.format.open_memmap(out / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
    tasks = [(out, request, start) for start in range(0, n, _PER_TASK)]
    with get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        labels = pool.starmap(_draw_some, tasks, chunksize=1)
    joined: dict[str, Any] = {name: np.concatenate([part[name] for part in labels]) for name in labels[0]}
    np.savez(out / "labels.npz", **joined)
    (out / "complete.json").write_text(json.dumps(_expected(request)))


def _draw_some(out: Path, request: Request, start: int) -> dict[str, np.ndarray]:
    images, tokens = (np.load(out / f"{name}.npy", mmap_mode="r+") for name in ("images", "tokens"))
    backend, labels = tokenizer(), []
    for index in range(start, min(start + _PER_TASK, request.n_scenes)):
        example = scenes.scene(request.seed, request.split, index, request.pixels, request.n_captions)
        images[index] = example["image"]
        tokens[index] = tokenize(backend, example["captions"])
        labels.append(example["labels"])
    return {name: np.array([label[name] for label in labels], np.int8) for name in labels[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("split", choices=("train", "validation", "test"))
    parser.add_argument("n_scenes", type=int)
    parser.add_argument("--pixels", type=int, default=96)
    parser.add_argument("--captions", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    ensure(args.out, Request(args.split, args.n_scenes, args.pixels, args.captions, args.seed))


if __name__ == "__main__":
    # One process per core: threads inside each would only get in each other's way.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
