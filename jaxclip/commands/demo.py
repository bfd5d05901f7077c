"""`jaxclip demo`: the whole way on real input."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxclip.commands.common import say


@dataclass(frozen=True)
class Demo:
    """The whole way on real input, with the small CLIP that comes with jaxclip: convert, verify, classify, explain.

    jaxclip demo
    """

    out: Path = Path("demo_out")
    """A folder for results.json and the figures; replaced if it is an earlier demo's."""
    n_scenes: int = 600
    """Held-out scenes to classify."""

    def run(self) -> dict[str, Any]:
        from jaxclip.demo import demo

        return demo(self.out, self.n_scenes, say)
