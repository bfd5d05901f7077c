"""What a command finds around it: settings of its user that are meant for other programs."""

import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def surroundings() -> Iterator[None]:
    """The environment that a command runs in; afterwards it is as it was.

    matplotlib's settings come from its own files, and its backend draws into files: what figures look like is decided
    in `jaxclip.report.colours`, and a notebook's backend or a broken settings file stops no command.

    Of JAX's settings those that change numbers, or forbid what the towers do on purpose, are as JAX has them by itself
    (`OURS`); and every compiled program is kept where `JAX_COMPILATION_CACHE_DIR` is set, not only those that took a
    second.
    """
    wanted = {"MPLBACKEND": "agg", **_shipped_settings()}
    wanted |= {name: value for name, value in OURS.items() if name in os.environ}
    wanted |= {name: value for name, value in CACHE.items() if name not in os.environ}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        if os.path.exists("matplotlibrc"):
            _import_elsewhere()
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


OURS = {
    "JAX_ENABLE_X64": "0",
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_THREEFRY_PARTITIONABLE": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
    "JAX_NUMPY_RANK_PROMOTION": "allow",
    "JAX_TRANSFER_GUARD": "allow",
    "JAX_TRANSFER_GUARD_HOST_TO_DEVICE": "allow",
    "JAX_TRANSFER_GUARD_DEVICE_TO_DEVICE": "allow",
    "JAX_TRANSFER_GUARD_DEVICE_TO_HOST": "allow",
}
"""What people set to find faults in programs of their own; a command calculates the same under all of it."""

CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
"""Most of a small model's programs compile in less than JAX's own least second; together they take many."""


def _shipped_settings() -> dict[str, str]:
    """Where matplotlib's own settings file is; found without importing it, which would read the user's."""
    spec = importlib.util.find_spec("matplotlib")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    files = [path for folder in folders if (path := Path(folder, "mpl-data", "matplotlibrc")).is_file()]
    return {"MATPLOTLIBRC": str(files[0])} if files else {}


def _import_elsewhere() -> None:
    """A settings file in the working folder comes before all others, whatever the environment says."""
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(Path(__file__).parent)
        import matplotlib  # noqa: F401  # its import is what reads the file
    finally:
        os.fchdir(here)
        os.close(here)


def check_platform() -> None:
    """Before a model is downloaded or loaded; not before hosts are joined, for JAX then looks for its devices.

    Raises:
      ValueError: `JAX_PLATFORMS` names what JAX does not find here.
    """
    name = next((name for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(name)), None)
    if name is None:
        return
    import jax

    try:
        jax.devices()
    except Exception as error:  # whatever a plugin raises, AssertionError without a word among it
        reason = re.sub(r" \(set JAX_PLATFORMS.*", "", str(error)) or "it has no plugin for it"
        raise ValueError(
            f"{name}={os.environ[name]} asks JAX for what it does not find here ({reason.rstrip('.')}): leave it out "
            f"to calculate on what there is, set it to cpu, or install JAX for that hardware."
        ) from error
