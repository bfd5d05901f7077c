"""How exact everything is: the sum in every detail and convention, and both towers and every head against open_clip in
PyTorch, for the shipped model and for real sizes with random weights. Written as JSON and into README's table.

    python experiments/correctness.py scenes ViT-B-32 ViT-B-16      # needs torch and open_clip_torch
    python experiments/correctness.py --fill                        # the table again, from what was measured
"""

import argparse
import importlib.util
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
from pages import ROOT, fill, table

import jaxclip
from jaxclip import verify
from jaxclip.convert import export_openclip  # pyright: ignore[reportMissingImports]
from jaxclip.convert.formats.openclip import openclip_towers  # pyright: ignore[reportMissingImports]
from jaxclip.convert.registry import model_cfg, named_preprocess  # pyright: ignore[reportMissingImports]
from jaxclip.data.scenes import CHECKPOINT
from jaxclip.model.params import shapes, unflatten

RESULTS = Path(__file__).parent / "results" / "correctness.json"
KINDS = {
    "sum": "the sum, every detail and convention",
    "image embedding": "image embedding against open_clip",
    "contributions": "every head and MLP against open_clip",
    "text embedding": "text embedding against open_clip",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help='"scenes", or OpenCLIP architectures')
    parser.add_argument("--batch", type=int, default=2, help="probe images")
    parser.add_argument("--fill", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if options.models:
        stand_in_for_torchvision()
        versions = {name: version(name) for name in ("jax", "torch", "open_clip_torch")}
        results: dict[str, Any] = {"device": jax.devices()[0].device_kind, "python": platform.python_version()}
        results |= {"versions": versions, "batch": options.batch, "models": {}}
        for name in options.models:
            with TemporaryDirectory() as folder:
                results["models"][name] = errors(checkpoint(name, Path(folder)), options.batch)
            print(name, results["models"][name])
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    fill("README.md", "correctness", correctness_table(json.loads(RESULTS.read_text())))


def stand_in_for_torchvision() -> None:
    """open_clip imports it for preprocessing, which is not compared here."""
    if importlib.util.find_spec("torchvision") is None:
        sys.path.append(str(ROOT / "tests" / "helpers"))
        importlib.import_module("torchvision_stub").install()


def checkpoint(name: str, folder: Path) -> Path:
    """An OpenCLIP folder: the shipped one, or an architecture with random weights, none of them zero or one."""
    if name == "scenes":
        return CHECKPOINT
    towers = openclip_towers(model_cfg(name))
    config = towers.config(name, named_preprocess("openai-bicubic-squash", towers.vision.image_size))
    rng = np.random.default_rng(0)
    leaves = {path: drawn(rng, path, shape) for path, shape in shapes(config).items()}
    export_openclip(unflatten(leaves), config, folder / "model")
    return folder / "model"


def drawn(rng: np.random.Generator, path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random, of the size that a trained weight has: matrices keep the scale of what passes through them."""
    noise = rng.standard_normal(shape, np.float32)
    if path.endswith("scale"):
        return 1 + 0.1 * noise
    if path.endswith("bias") or len(shape) < 2:
        return 0.1 * noise
    return noise * np.float32(0.02 if "embedding" in path else shape[-1] ** -0.5 / 4)


def errors(source: Path, batch: int, **compute: Any) -> dict[str, float]:
    """The largest error of each kind, relative to an embedding's norm; `compute` as `jaxclip.load` takes it."""
    clip = jaxclip.load(source, **compute)
    images = verify.probe_images(clip, batch)
    checks = [*verify.verify(clip, images), *verify.compare(clip, source, images)]
    return {kind: max(check.error for check in checks if check.what.startswith(kind)) for kind in KINDS}


def correctness_table(results: dict[str, Any]) -> str:
    rows = [
        (said, *(f"{found[kind]:.0e}" for found in results["models"].values()), f"{allowed:.0e}")
        for (kind, said), allowed in zip(KINDS.items(), _allowed(), strict=True)
    ]
    return table(("largest error, relative to the embedding's norm", *results["models"], "allowed"), rows)


def _allowed() -> tuple[float, ...]:
    return verify.SUM_TOLERANCE, verify.EMBEDDING_TOLERANCE, verify.CONTRIBUTION_TOLERANCE, verify.EMBEDDING_TOLERANCE


if __name__ == "__main__":
    main()
