"""What one head says about one text, where: maps over patches, head by head.

    python experiments/paper/head_patch_maps.py --pictures dog.jpg --texts "a dog" "a ball" --heads 22.1 23.8
    python experiments/paper/head_patch_maps.py --scenes

In the paper: section 5, the figures of image-token maps for texts and of heads and tokens jointly; they have no number.
Writes heatmap.png for every picture: a row for all heads together and one for each named head.

Reads: pictures, texts, heads as layer.head; OpenCLIP models by name. Without --heads, all heads of the last layer.
Takes: one forward pass a picture: seconds, in the memory of a step of batch 1 (`--cost --batch 1`).
"""

from dataclasses import dataclass
from pathlib import Path

from common import LAION, Setting, Values, command, main, with_scenes
from PIL import Image

from jaxclip.data.scenes import scene


@dataclass(frozen=True)
class Maps(Setting):
    """Besides: pictures, texts and heads."""

    pictures: tuple[Path, ...] = ()
    texts: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()


REAL = Maps(models=LAION[1:2], n_images=1, batch=1)
SCENES = with_scenes(REAL, texts=("something red", "a star", "on grass"), heads=("4.0", "5.1"), n_images=1, limit=None)


def measure(setting: Maps, model: str, out: Path) -> Values:
    pictures = setting.pictures or (drawn(out) if setting.data == "scenes" else ())
    if not pictures or not setting.texts:
        raise ValueError("name at least one picture with --pictures and one text with --texts.")
    for picture in pictures:
        command("heatmap", model, picture, *setting.texts, out=out / picture.stem, heads=setting.heads, each=True)
    return {}


def drawn(out: Path) -> tuple[Path, ...]:
    """A held-out scene as a file."""
    path = out / "scene.png"
    Image.fromarray(scene(0, "test", 1)["image"]).save(path)
    return (path,)


def run(arguments: list[str] | None = None) -> dict[str, Values]:
    return main("head_patch_maps", __doc__, REAL, SCENES, measure, arguments)


if __name__ == "__main__":
    run()
