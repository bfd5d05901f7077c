"""Worst-group accuracy on Waterbirds before and after heads that hold the background are replaced by their means.

    python experiments/paper/waterbirds.py --data waterbirds
    python experiments/paper/waterbirds.py --data waterbirds --heads 20.3,21.1
    python experiments/paper/waterbirds.py --scenes

In the paper: among the applications of heads, the table of worst-group and overall accuracy. There heads were chosen
by hand; here they are proposed by what texts about the property account for, unless --heads names them. Beside them
stand as many random heads of the last layers. Writes the figures of `jaxclip debias`.

Reads: Waterbirds' folder (metadata.csv), test and validation; means come from the latter. OpenCLIP models by name.
Takes: two passes a model, of 5,794 and 1,199 images (`--cost`); then seconds.
"""

from dataclasses import dataclass
from pathlib import Path

from common import LAION, Setting, Values, command, main, passed, with_scenes


@dataclass(frozen=True)
class Waterbirds(Setting):
    """Besides: the split that means come from, the kind of label that says the group, the property that heads are
    proposed for and its texts (a category of the pool, or a file), heads in their place, and random draws."""

    means_split: str = "validation"
    groups: str = "group"
    property: str = "landscape"
    property_texts: Path | None = None
    heads: str | None = None
    draws: int = 20


REAL = Waterbirds(models=LAION, data="waterbirds", split="test", templates="bird", n_images=5794 + 1199)
SCENES = with_scenes(REAL, label="bird", property="background")


def measure(setting: Waterbirds, model: str, out: Path) -> Values:
    folders = [passed(setting, model, split).folder for split in (setting.split, setting.means_split)]
    found = command(
        "debias", folders[0], out=out,
        property=setting.property, property_texts=setting.property_texts, heads=setting.heads,
        late=setting.late, label=setting.label, groups=setting.groups, classes=setting.classes,
        templates=setting.templates, means_from=folders[1], draws=setting.draws,
    )  # fmt: skip
    return {
        f"{words}, {when}": 100 * value
        for key, words in (("worst_group", "worst group"), ("weighted", "by training groups"), ("overall", "overall"))
        for when, value in (
            ("before", found["before"][key]), ("after", found["after"][key]),
            ("random", found["random"][key] and found["random"][key]["mean"]),
        )
        if value is not None
    }  # fmt: skip


def run(arguments: list[str] | None = None) -> dict[str, Values]:
    return main("waterbirds", __doc__, REAL, SCENES, measure, arguments)


if __name__ == "__main__":
    run()
