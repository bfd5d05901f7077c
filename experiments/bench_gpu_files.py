"""The part of `bench_gpu.py` that reads files: JPEGs alone, or a whole pass over them."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxclip.clip import Clip
from jaxclip.config import ClipConfig, PreprocessConfig
from jaxclip.data.open_data import open_data
from jaxclip.model.vision import VisionTransformer
from jaxclip.runs.loader import batches
from jaxclip.runs.run_pass import PassOptions, run_pass
from jaxclip.tokenizer import MissingTokenizer


def speed(vision: VisionTransformer, n_files: int, *, reading: bool) -> dict[str, float]:
    """Images a second of reading JPEGs, or of `jaxclip run` over them, from its third step to its last."""
    config = vision.config
    preprocess = PreprocessConfig(
        size=config.image_size, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28), interpolation="bicubic",
        resize_mode="shortest",
    )  # fmt: skip
    asked = PassOptions(batch=min(256, n_files // 5))
    stamps: list[tuple[float, int]] = []
    with TemporaryDirectory() as folder:
        photographs(Path(folder) / "in", n_files)
        source = open_data(str(Path(folder) / "in"))
        if reading:
            for n, _ in enumerate(batches(source, preprocess, asked.order(config, len(source))), 1):
                stamps.append((time.perf_counter(), n * asked.batch))
        else:
            alone = "an image tower alone"
            whole = ClipConfig(name="random", vision=config, text=None, text_missing=alone, preprocess=preprocess)
            clip = Clip(vision, None, jnp.zeros(()), None, whole, MissingTokenizer(alone))
            run_pass(
                clip, source, Path(folder) / "out", asked,
                progress=lambda done, total: stamps.append((time.perf_counter(), done)),
            )  # fmt: skip
    (start, first), (end, last) = stamps[2], stamps[-1]
    return {"images_per_s": (last - first) / (end - start), "batch": asked.batch}


def photographs(folder: Path, n: int) -> None:
    """JPEGs of 500 by 375 pixels, of blots as large as a photograph's."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    first = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
    for index in range(n):
        first.rotate(index % 360).save(folder / f"{index:05}.jpg", quality=90)
