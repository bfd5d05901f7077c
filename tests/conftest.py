"""What every test runs under: annotations are executed."""

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torchvision_stub

torchvision_stub.install()
# Compiled programs are kept, so that the next run does not compile them again: most of a run's time goes there.
# Set before jax is imported, and in the environment, so that commands started by tests keep theirs too.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
# LAPACK's threads wait for each other by spinning: on cores that others use too, a small matrix then takes minutes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Must come before the first import of jaxclip: it checks every annotated shape and dtype at run time.
jaxtyping.install_import_hook("jaxclip", "beartype.beartype")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photographs, texts and golden files beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def open_clip():
    """PyTorch's side of a comparison; tests that need it skip where torch or open_clip is not installed."""
    pytest.importorskip("torch", reason="needs torch (make test installs it where it can)")
    return pytest.importorskip("open_clip", reason="needs open_clip_torch (make test installs it where it can)")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not executed: bad input gets as far as it does for a user, and meets the library's own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
