"""A report's model card: which checkpoint, what was chosen for it and why, and how exact the sum is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxclip import verify
from jaxclip.clip import Clip
from jaxclip.data.text_pools import Pool
from jaxclip.files import checkpoint
from jaxclip.numerics.arrays import counted
from jaxclip.runs.run import Run


def card(run: Run, clip: Clip, source: str, error: float, n_checked: int, pool: Pool) -> dict[str, Any]:
    """All in words and numbers.

    Args:
      source: where the model was loaded from.
      error: of the sum, relative to the embedding's norm.
      n_checked: images that it was measured on.
      pool: the texts heads were described by.
    """
    vision, info, held = clip.config.vision, run.info, provenance(source)
    weights = [entry for entry in held.get("weights", []) if "sha256" in entry]
    exact = info["model"]["compute"]["dtype"] == "float32"
    rows = [
        ("Checkpoint", named(held.get("repository") or held.get("source") or info["model"]["source"])),
        ("Image tower", f"{counted(vision.n_layers, 'layer')} of {counted(vision.n_heads, 'head')}, width "
                        f"{vision.width}, joint space of {vision.embed_dim}"),
        ("Input", f"{_by(vision.image_size)} pixels in patches of {_by(vision.patch_size)}"),
        ("Image tower's hash", info["model"]["hash"]),
        *[(f"SHA-256 of {entry['file']}", entry["sha256"]) for entry in weights],
        ("Images", f"{run.n_images:,} of {named(info['data']['source'])}"
                   + (f"; {len(run.unreadable):,} could not be read" if run.unreadable else "")),
        ("Texts", f"{len(pool.texts):,} of the pool {pool.name}"),
        ("Units", "terms divided by the norm of their image's embedding" if run.units == "normalized" else "raw terms"),
        ("Made with", ", ".join(f"{name} {number}" for name, number in info["versions"].items())
                      + f" on {info['device'].partition(': ')[2] or info['device']}"),
    ]  # fmt: skip
    chosen = [{"what": what, "value": _worded(one.get("value")), "why": _worded(one.get("why"))}
              for what, one in held.get("options", {}).items()]  # fmt: skip
    return {
        "rows": [list(row) for row in rows],
        "chosen": chosen,
        "check": {
            "error": error, "images": n_checked, "tolerance": verify.SUM_TOLERANCE if exact else None,
            "holds": error <= verify.SUM_TOLERANCE if exact else None,
        },
    }  # fmt: skip


def with_smells(said: dict[str, Any], smells: Sequence[str]) -> dict[str, Any]:
    """A card with what smells about the run's labels and pictures as rows of their own."""
    return said | {"rows": [*said["rows"], *(["Look at", smell] for smell in smells)], "smells": list(smells)}


def provenance(source: str) -> dict[str, Any]:
    """What was decided when a checkpoint was read: from its folder if it was converted, else by reading it again."""
    if checkpoint.is_checkpoint(source):
        return checkpoint.provenance(Path(source))
    from jaxclip.convert import read  # pyright: ignore[reportMissingImports]

    return read(source)[3]


def named(source: str) -> str:
    """Without the folders above: where things lie on one machine is nobody else's matter."""
    return Path(source).name if Path(source).is_absolute() else source


def _worded(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    words = str(value).split(" ")
    return " ".join(named(word) for word in words)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} by {size[1]}"
