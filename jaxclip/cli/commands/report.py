"""`jaxclip report`: a run as one HTML file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from jaxclip.cli.checks import check_file, check_least, check_texts, resolve, say
from jaxclip.files.whole import write_whole
from jaxclip.numerics.arrays import counted


@dataclass(frozen=True)
class Report:
    """A run as one HTML file to look at and to show: heads, images, texts, results. It needs no network.

    jaxclip run scenes scenes --split test --limit 600 --bank --out scenes_run
    jaxclip report scenes_run --out report.html
    """

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN [RUN ...]")]]
    """Folders of `jaxclip run`; two of models of one shape are compared head by head. With --bank they say more."""
    out: Path
    """The HTML file."""
    results: tuple[Path, ...] = ()
    """Folders that ablate, debias, retrieve, segment or textspan wrote, to be shown too."""
    texts: tuple[str, ...] = ()
    """Two or more, compared with each other on every image; quote each."""
    pool: str | None = None
    """Texts that heads are described by: "descriptions", "scenes" or a file. By default what suits the run."""
    model: tuple[str, ...] = ()
    """Where the models of the runs are, one a run, if not where the runs found them."""
    data: tuple[str, ...] = ()
    """Where the images of the runs are, one a run, if not where the runs found them."""
    split: str | None = None
    """Of data sets that have splits: the one that was run."""
    steps: int = 10
    """Texts for each head; at most head_dim."""
    examples: int = 4
    """Images for each text of a head, of those it answers most and of those it answers least."""
    images: int | None = None
    """Images with maps and direct effects of their own; by default as many as fit into about 6 MB."""
    pictures: int = 900
    """Pictures in all, a few kilobytes each."""

    def run(self) -> dict[str, Any]:
        self._check()
        from jaxclip.report.stages import stages

        with stages("report") as at:
            at("starting")
            from jaxclip.analyses.textspan import head_sizes
            from jaxclip.report.html.build import page, read_results
            from jaxclip.report.html.packing import Pictures
            from jaxclip.report.html.run_data import ReportOptions, collect
            from jaxclip.runs.images import run_source
            from jaxclip.runs.inputs import check_model, open_pool, run_model
            from jaxclip.runs.run import find_run, open_run

            options = ReportOptions(self.texts, self.steps, self.examples, self.images, self.pictures)
            results = [read_results(folder) for folder in self.results]
            found = [find_run(folder) for folder in self.runs]
            pools = [open_pool(self.pool, run) for run in found]
            for i, run in enumerate(found):
                run.need(moments=True)
                check_model(run, _at(self.model, i), texts=pools[i].embeddings is None or bool(self.texts))
            opened = [open_run(folder) for folder in self.runs]
            sources = [run_source(run, _at(self.data, i), self.split) for i, run in enumerate(opened)]
        parts = []
        for i, run in enumerate(opened):
            model = _at(self.model, i)
            with stages(run.folder.name) as progress:
                progress("loading the model")
                clip = run_model(run, model)
            where = resolve(model or run.info["model"]["source"])
            pictures = Pictures(run, sources[i], clip.config.preprocess)
            with stages(run.folder.name) as progress:
                parts.append(collect(run, clip, pictures, pools[i], options, source=where, progress=progress))
        html = page(parts, results)
        write_whole(self.out, html)
        for run in opened:
            most = head_sizes(run.config.vision.head_dim, run.config.vision.embed_dim, 1)[1]
            if self.steps > most:
                say(f"--steps {self.steps} is more than a head of {run.folder.name} has directions; {most} are used.")
        for part in parts:
            for smell in part["card"]["smells"]:
                say(smell)
        say(f"wrote {self.out}: {len(html) / 1e6:.1f} MB")
        return {"file": str(self.out), "bytes": len(html.encode()), "runs": [part["name"] for part in parts],
                "images": sum(len(part["images"]) for part in parts), "results": [one["name"] for one in results],
                "sum_error": max(part["card"]["check"]["error"] for part in parts)}  # fmt: skip

    def _check(self) -> None:
        if not self.runs:
            raise ValueError("name at least one folder of `jaxclip run`.")
        check_file(self.out)
        check_texts(self.texts)
        check_least(steps=self.steps)
        if len(self.texts) == 1:
            raise ValueError("--texts are compared with each other; pass two or more.")
        for name in ("model", "data"):
            if (given := getattr(self, name)) and len(given) != len(self.runs):
                raise ValueError(
                    f"--{name} must name one for each of {counted(len(self.runs), 'run')}; got {len(given)}."
                )


def _at(given: tuple[str, ...], place: int) -> str | None:
    return given[place] if given else None
