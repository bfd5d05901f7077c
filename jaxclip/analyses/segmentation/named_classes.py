"""Classes and background of a segmentation by name, with their prompts."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxclip.analyses.segmentation.segment_data import SegmentOptions
from jaxclip.data.masks.source import MaskedSource
from jaxclip.data.text_pools import read_lines
from jaxclip.files.plain import is_there
from jaxclip.zeroshot import fill_templates

TEMPLATE = "a photo of a {}."


class Named(NamedTuple):
    """Classes and background by name, each with its prompts."""

    classes: tuple[str, ...]
    background: tuple[str, ...]
    prompts: list[list[str]]

    @classmethod
    def read(
        cls, source: MaskedSource, classes: Sequence[str], background: Sequence[str], templates: Path | None = None
    ) -> "Named":
        """From what a user gives: names, or a file with one a line; else the data's own.

        Raises:
          ValueError: neither the user nor the data names classes, their file is empty, or one comes twice.
        """
        asked = tuple(classes)
        if len(asked) == 1 and is_there(asked[0]):
            asked = tuple(filter(None, read_lines(asked[0])))
            if not asked:
                raise ValueError(f"{classes[0]} names no classes; it should have one a line.")
        names = asked or source.class_names
        if not names:
            raise ValueError("no classes: the data does not name any; pass them as classes.")
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"every class must be named once; got {twice[0]!r} {names.count(twice[0])} times.")
        ways = [TEMPLATE] if templates is None else list(filter(None, read_lines(templates)))
        prompts = fill_templates([name.replace("_", " ") for name in names], ways)
        if source.kind == "scenes" and not asked and templates is None:
            from jaxclip.data import scenes

            prompts = scenes.prompts("shape") + scenes.prompts("bird")
        return cls(names, tuple(background), [list(some) for some in prompts] + [[text] for text in background])

    def check(self, options: SegmentOptions) -> None:
        """Refuse what the way of segmenting cannot do with these names."""
        if options.way == "foreground" and self.background:
            raise ValueError("background texts are for way='classes'; the paper's way compares with the other classes.")
        if len(self.prompts) < 2:
            raise ValueError(
                f"a class is compared with other texts; got {self.classes[0]!r} alone. Pass more classes, or "
                f"background texts with way='classes'."
            )
        if len(self.classes) > 254 and options.way == "classes":
            raise ValueError(f"mask files hold at most 254 classes; got {len(self.classes)}.")

    def order(self, source: MaskedSource) -> list[int] | None:
        """The label here of each label of the data; None where the data does not name its classes.

        Raises:
          ValueError: the data has other classes.
        """
        if source.class_names is None:
            return None
        if set(self.classes) != set(source.class_names):
            raise ValueError(
                f"metrics over classes need the data's own, in any order: {', '.join(source.class_names)}; got "
                f"{', '.join(self.classes)}. Leave out classes, or pass metrics=False."
            )
        return [0, *(1 + self.classes.index(name) for name in source.class_names)]
