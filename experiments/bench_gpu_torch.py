"""PyTorch's side of `bench_gpu.py`: open_clip on the same card, and both towers against it."""

import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from correctness import checkpoint, errors, stand_in_for_torchvision

from jaxclip.config import Compute

NO_TORCH = "not measured: torch or open_clip is not installed"


def parity(model: str, compute: Compute) -> dict[str, float] | str:
    """The largest error of each kind against open_clip in float32 on the host, relative to an embedding's norm."""
    if not has_open_clip():
        return NO_TORCH
    stand_in_for_torchvision()
    with TemporaryDirectory() as folder:
        source = checkpoint(model, Path(folder))
        return errors(source, 4, dtype=compute.dtype, precision=compute.precision)


def speed(model: str, compute: Compute, batch: int, seconds: float, compiled: bool) -> dict[str, Any] | str:
    """Images a second of open_clip's image tower with random weights, as it is or by `torch.compile`."""
    if not has_open_clip():
        return NO_TORCH
    stand_in_for_torchvision()
    torch = import_module("torch")
    torch.set_float32_matmul_precision("highest" if compute.precision == "highest" else "high")
    cuda = torch.cuda.is_available()
    where = {"device": "cuda" if cuda else "cpu", "dtype": getattr(torch, compute.dtype)}
    visual = import_module("open_clip").create_model(model, pretrained=None).visual.eval().to(**where)
    images = torch.randn(batch, 3, *visual.image_size, **where)
    run = torch.compile(visual) if compiled else visual

    def timed(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            run(images)
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    with torch.inference_mode():
        first = timed(1)  # compiles and loads
        n = max(3, int(seconds / timed(1)))
        rate = n * batch / timed(n)
    return {"images_per_s": rate, "batch": batch, "first_s": round(first, 1), "torch": torch.__version__}


def has_open_clip() -> bool:
    return all(find_spec(name) is not None for name in ("torch", "open_clip"))
