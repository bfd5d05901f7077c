"""`jaxclip textspan`: what each head varies in, in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxclip.cli.checks import check_folder, check_least, say, write_json
from jaxclip.files.whole import write_whole
from jaxclip.numerics.arrays import counted


@dataclass(frozen=True)
class TextSpan:
    """Name each head by the texts that span most of what it varies in over a run's images.

    jaxclip run scenes scenes --split test --limit 600 --bank --out scenes_run
    jaxclip textspan scenes_run --out scenes_bases
    """

    folder: Positional[Annotated[Path, arg(metavar="RUN")]]
    """What `jaxclip run` left, with moments."""
    out: Path
    """A folder for results.json, bases.npz, bases.md and the figure."""
    texts: str | None = None
    """A file of one text a line, or a .npy array of text embeddings with the texts in a .txt of the same name;
    "descriptions" is the shipped pool, the default, and "scenes" the scenes' own words, their default."""
    steps: int = 20
    """Texts for each head; at most the rank."""
    rank: int | None = None
    """Of the space that texts are projected on; by default head_dim. More than a head can have, head_dim + 3, is cut to
    that, so the released code's 80 may be given."""
    layers: tuple[int, ...] | Literal["all"] | None = None
    """Layers, counted from 0, or "all"; by default the last four."""
    model: str | None = None
    """The run's model, if it is no longer where it was."""
    format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figure."""

    def run(self) -> dict[str, Any]:
        check_folder(self.out)
        check_least(steps=self.steps, rank=self.rank)
        from jaxclip.report.stages import stages

        with stages("textspan") as at:
            at("starting")
            import jax
            import numpy as np

            from jaxclip.analyses.textspan import head_bases, head_sizes
            from jaxclip.report import textspan
            from jaxclip.report.figures import save_all
            from jaxclip.runs.inputs import check_model, open_pool, pool_embeddings
            from jaxclip.runs.run import find_run, open_run

            run = find_run(self.folder)
            run.need(moments=True)
            vision = run.config.vision
            layers = self._layers(vision.n_layers)
            steps, rank = head_sizes(vision.head_dim, vision.embed_dim, self.steps, self.rank)
            pool = open_pool(self.texts, run)
            if pool.embeddings is None:
                check_model(run, self.model)
            run = open_run(self.folder)
            moments = run.moments.heads
            at("loading the model")
            texts = pool_embeddings(pool, run, self.model, progress=lambda *counts: at("encoding texts", *counts))
            at("bases")
            chosen = jax.tree.map(lambda x: x[np.array(layers)], moments)
            spans = jax.block_until_ready(head_bases(chosen, texts, steps=steps, rank=rank))
        for note in self._notes(rank, len(pool.texts)):
            say(note)
        result = textspan.bases_result(run, pool, layers, spans, rank)
        write_json(self.out / "results.json", result)
        textspan.save_bases(spans, self.out / "bases.npz")
        write_whole(self.out / "bases.md", textspan.bases_markdown(result))
        with stages("textspan") as at:
            at("figure")
            figures = save_all(textspan.bases_figure(result), self.out / "bases", self.format)
        textspan.print_bases(result)
        say(f"wrote {self.out / 'results.json'}, bases.npz, bases.md and {', '.join(path.name for path in figures)}")
        return result

    def _notes(self, rank: int, n_texts: int) -> Iterator[str]:
        """What was asked for and cannot be had."""
        if self.rank is not None and self.rank > rank:
            yield f"--rank {self.rank} is more than a head of this model can have; the rank used is {rank}."
        if self.steps > n_texts:
            yield f"--steps {self.steps} is more than the {counted(n_texts, 'text')} of the pool; the rest is empty."

    def _layers(self, n_layers: int) -> list[int]:
        if self.layers is None or self.layers == "all":
            return list(range(n_layers))[-4 if self.layers is None else 0 :]
        if not self.layers or not all(0 <= layer < n_layers for layer in self.layers):
            raise ValueError(f"layers must lie between 0 and {n_layers - 1}; got {list(self.layers)}.")
        return sorted(set(self.layers))
