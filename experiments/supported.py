"""The tables of supported checkpoints, from convert/models.json: by image tower in README, by name in docs/models.md.

python experiments/supported.py
"""

from collections import defaultdict
from dataclasses import dataclass

from pages import fill, table

from jaxclip.convert.formats.openclip import Towers, openclip_towers  # pyright: ignore[reportMissingImports]
from jaxclip.convert.readers.tensors import CheckpointError  # pyright: ignore[reportMissingImports]
from jaxclip.convert.registry import model_cfg, model_names, tags  # pyright: ignore[reportMissingImports]


@dataclass(frozen=True)
class Model:
    """A native architecture: its towers, or why it is refused, and its pretrained tags."""

    name: str
    towers: Towers | None
    refused: str
    tags: tuple[str, ...]


def models() -> list[Model]:
    """All that have a name. A -quickgelu twin is the same architecture, so it is left out."""
    found = []
    for name in model_names():
        if name.endswith("-quickgelu"):
            continue
        try:
            towers, refused = openclip_towers(model_cfg(name)), ""
        except CheckpointError as error:
            towers, refused = None, str(error)
        found.append(Model(name, towers, refused, tuple(tags(name))))
    return found


def by_tower() -> str:
    """A row an image tower that has pretrained weights, smallest first."""
    groups: dict[tuple[int, ...], list[Model]] = defaultdict(list)
    for model in models():
        if model.towers and model.tags:
            vision = model.towers.vision
            groups[vision.width, vision.n_layers, vision.n_heads, vision.patch_size[0]].append(model)
    rows = [
        (
            f"{n_layers} x {n_heads}",
            f"{patch}",
            f"{width}",
            ", ".join(model.name for model in sorted(some, key=lambda model: (len(model.name), model.name))),
            str(sum(len(model.tags) for model in some)),
        )
        for (width, n_layers, n_heads, patch), some in sorted(groups.items())
    ]
    return table(("layers x heads", "patch", "width", "architectures", "pretrained"), rows)


def by_name() -> str:
    """A row an architecture, with every tag."""
    rows = []
    for model in models():
        if model.towers is None:
            rows.append((model.name, "refused", "", "", model.refused))
            continue
        vision = model.towers.vision
        rows.append(
            (
                model.name,
                f"{vision.image_size[0]} / {vision.patch_size[0]}",
                f"{vision.n_layers} x {vision.n_heads}",
                "its own" if model.towers.text else "image side only",
                ", ".join(model.tags) or "none",
            )
        )
    return table(("architecture", "pixels / patch", "layers x heads", "text tower", "pretrained tags"), rows)


if __name__ == "__main__":
    fill("README.md", "supported", by_tower())
    fill("docs/models.md", "models", by_name())
