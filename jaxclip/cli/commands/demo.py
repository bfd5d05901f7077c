"""`jaxclip demo`: the whole way on real input."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxclip.cli.checks import check_folder, check_least, say, write_json
from jaxclip.cli.commands.ablate import Ablate
from jaxclip.cli.commands.debias import Debias
from jaxclip.cli.commands.report import Report
from jaxclip.cli.commands.retrieve import Retrieve
from jaxclip.cli.commands.run import Run
from jaxclip.cli.commands.segment import Segment
from jaxclip.cli.commands.textspan import TextSpan
from jaxclip.files.whole import check_own_folder

RESULTS = "ablate", "debias", "retrieve", "segment"


@dataclass(frozen=True)
class Demo:
    """The whole way on real input, with the small CLIP that comes with jaxclip: convert, verify, classify, explain, and
    then every analysis from one pass over held-out scenes.

    jaxclip demo
    """

    out: Path = Path("demo_out")
    """A folder for results.json and the figures; what an earlier demo left there is replaced."""
    n_scenes: int = 600
    """Held-out scenes to classify."""
    passes: bool = True
    """With the analyses of a pass; --no-passes ends after the first pictures."""

    def run(self) -> dict[str, Any]:
        check_folder(self.out)
        check_least(n_scenes=self.n_scenes)
        for name in ("model", "run", "textspan", *RESULTS):
            check_own_folder(self.out / name)
        from jaxclip.report.stages import stages

        with stages("demo") as at:
            at("starting")
            from jaxclip.report.demo import demo

        started = time.monotonic()
        result = demo(self.out, self.n_scenes, say)
        if not self.passes:
            return result
        # What an earlier demo left: its pass may be of another model, and would be refused.
        shutil.rmtree(self.out / "run", ignore_errors=True)
        for name, command in self._story():
            purpose = (type(command).__doc__ or "").split("\n\n")[0]
            say("")
            say(f"{name}: {' '.join(purpose.split())}")
            command.run()
        result["seconds"] = round(time.monotonic() - started, 1)
        write_json(self.out / "results.json", result)
        say("")
        say(f"open {self.out / 'report.html'}; all of it took {result['seconds']} s")
        return result

    def _story(self) -> Iterator[tuple[str, Any]]:
        """Commands as one would type them, in order."""
        model, run, out = str(self.out / "model"), self.out / "run", self.out
        yield "run", Run(model=model, data="scenes", out=run, split="test", limit=self.n_scenes, bank=True)
        yield "textspan", TextSpan(run, out / "textspan")
        yield "ablate", Ablate(run, out=out / "ablate", label="shape")
        yield "debias", Debias(run, out=out / "debias", label="bird", property="background")
        yield "retrieve", Retrieve(run, ("0", "1"), out=out / "retrieve", property="colour", split="test")
        some = min(60, self.n_scenes)
        yield "segment", Segment(model, "scenes", out=out / "segment", split="test", limit=some)
        results = tuple(out / name for name in RESULTS)
        yield "report", Report((run,), out=out / "report.html", results=results, split="test")
