"""What decides a run's numbers beside its model, data and options: versions, this package's code, and the machine.

Hosts agree on all of it before the first step, run.json records it, and a pass only goes on where it is the same.
"""

import hashlib
import os
import platform
import re
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from PIL import features

LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "pillow")
DECODERS = ("libjpeg_turbo", "jpg", "jpg_2000", "zlib", "zlib_ng", "libtiff", "webp", "avif")
"""Libraries inside Pillow that decide pixels; each build of it brings its own."""

COUNTS_NOT = re.compile(r"--xla_(force_host_platform_device_count|dump_\w+|gpu_\w*cache\w*)\b")
"""XLA's options that leave a program's numbers alone: a number of devices may change, and rounds otherwise (docs)."""

ALSO = ("LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
"""Further variables of the environment that change a compiled program or its products; recorded where they are set."""

ARITHMETIC = re.compile(r"s?sse\w*|avx\w*|amx\w*|fma\w*|f16c|bmi\d|adx|xop|neon|asimd\w*|sve\w*|sme\d?|fphp|bf16|i8mm")
"""Instructions, by their names in Linux, that a compiler chooses products and sums from."""


PARTS = ("versions", "decoders", "device", "machine", "code")


def program() -> dict[str, Any]:
    """All of it, in JSON types, as run.json has it."""
    from jaxclip.version import __version__

    device = jax.devices()[0]
    known = {*features.modules, *features.codecs, *features.features}  # Pillow warns about others
    return {
        "versions": {"jaxclip": __version__, "python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "decoders": {name: str(features.version(name)) for name in DECODERS if name in known and features.check(name)},
        "device": f"{device.platform}: {device.device_kind}",
        "machine": machine(),
        "code": code_hash(),
    }


@cache
def code_hash() -> str:
    """SHA-256 of every .py file of the installed package, by name; the same wherever it is installed."""
    files: dict[str, Path] = {}
    for package, prefix in (("jaxclip", ""), ("jaxclip.convert", "convert/")):
        spec = find_spec(package)
        for root in map(Path, (spec.submodule_search_locations or ()) if spec else ()):
            files |= {prefix + path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def machine() -> dict[str, Any]:
    """What XLA compiles for: a CPU's instructions and the threads it sums in, a driver elsewhere, and XLA's options."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        found = _processor() | {"threads": _threads()}
    else:
        found = {"runtime": " ".join(str(device.client.platform_version).split())}
    found["xla_flags"] = " ".join(sorted(flag for flag in _xla_flags().split() if not COUNTS_NOT.match(flag)))
    found |= {name.lower(): os.environ[name] for name in ALSO if os.environ.get(name)}
    return found | {"x64": bool(getattr(jax.config, "jax_enable_x64", False))}


def _xla_flags() -> str:
    """XLA's options; what does not begin with a dash is the name of a file of them."""
    said = os.environ.get("XLA_FLAGS", "").strip()
    if said and not said.startswith("-"):
        with suppress(OSError):
            return Path(said).read_text(errors="replace")
    return said


def _threads() -> int:
    """Of XLA on a CPU: sums are cut into as many pieces, so it decides bits."""
    if (asked := os.environ.get("NPROC", "")).isdigit():
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> dict[str, Any]:
    """Its name and instructions, as far as the system tells."""
    try:
        return processor_of(Path("/proc/cpuinfo").read_text(errors="replace"))
    except OSError:  # not Linux
        return {"processor": f"{platform.machine()} {_elsewhere()}", "instructions": ""}


def processor_of(cpuinfo: str) -> dict[str, Any]:
    """What decides a compiler's choices, from Linux's words on the first processor: x86's and ARM's differ."""
    lines = cpuinfo.split("\n\n")[0].splitlines()
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    names = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part", "CPU variant")
    known = [said[name] for name in names if name in said] or [platform.processor()]
    flags = said.get("flags", said.get("Features", "")).split()
    used = sorted(flag for flag in flags if ARITHMETIC.fullmatch(flag))
    return {"processor": " ".join([platform.machine(), *known]), "instructions": " ".join(used)}


def _elsewhere() -> str:
    """A processor's name on macOS and Windows."""
    import subprocess

    try:
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return platform.processor()
