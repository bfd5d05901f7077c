"""Images alike in one property: nearest by the heads that hold it, beside the nearest by the whole embedding.

    python experiments/paper/retrieval.py --data imagenet/val --queries 17 4242 --properties colour texture number
    python experiments/paper/retrieval.py --scenes

In the paper: among the applications of heads, the figure of nearest neighbours; it has no number. Where images have
labels of the properties' names, as scenes do, precision@10 is measured as well. Writes a figure a query and property.

Reads: any images, OpenCLIP models by name.
Takes: one pass a model, which other scripts use again (`--cost`); then seconds.
"""

from dataclasses import dataclass
from pathlib import Path

from common import LAION, Setting, Values, command, main, passed, with_scenes


@dataclass(frozen=True)
class Retrieval(Setting):
    """Besides: images of the run, by number or name, the properties, and how many neighbours."""

    queries: tuple[str, ...] = ("0", "1000", "2000")
    properties: tuple[str, ...] = ("colour", "texture", "number", "landscape")
    k: int = 10


REAL = Retrieval(models=LAION)
SCENES = with_scenes(REAL, queries=("0",), properties=("background", "colour"))


def measure(setting: Retrieval, model: str, out: Path) -> Values:
    run, found = passed(setting, model), {}
    for name in setting.properties:
        precision = (name,) if name in run.label_names else ()
        result = command(
            "retrieve", run.folder, *setting.queries, out=out / name, property=name, late=setting.late, k=setting.k,
            precision=precision, data=setting.data, split=setting.split,
        )  # fmt: skip
        for entry in result["precision"].values():
            ways = {"heads": "by_heads", "whole embedding": "by_embedding", "chance": "chance"}
            found |= {f"{name}, precision@{setting.k} by {way}": 100 * entry[key] for way, key in ways.items()}
    return found


def run(arguments: list[str] | None = None) -> dict[str, Values]:
    return main("retrieval", __doc__, REAL, SCENES, measure, arguments)


if __name__ == "__main__":
    run()
