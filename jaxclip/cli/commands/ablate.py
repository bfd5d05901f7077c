"""`jaxclip ablate`: what classification loses when parts of the model say the same of every image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxclip.cli.checks import check_folder, check_least, say, write_json


@dataclass(frozen=True)
class Ablate:
    """Zero-shot accuracy with MLPs, attention layers, heads or sets of heads replaced by their means.

    jaxclip run scenes scenes --split test --limit 600 --bank --out scenes_run
    jaxclip ablate scenes_run --label shape --out scenes_ablation
    """

    folder: Positional[Annotated[Path, arg(metavar="RUN")]]
    """What `jaxclip run` left, with moments and --bank."""
    out: Path
    """A folder for results.json and the figures."""
    label: str = "label"
    """The kind of label to classify; of the scenes, a factor such as shape."""
    classes: Path | None = None
    """A file of one class a line, matched with the labels by name or number, else in their order; by default the
    labels' own names."""
    templates: str | None = None
    """A file of one prompt a line, with {} where the class goes ({a} with its article), or the name of a shipped list:
    single, general, small, bird, place, scene. By default single, "a photo of {a}."."""
    heads: tuple[str, ...] = ()
    """Sets of heads to ablate together, such as 5.2,5.3 (layer.head, from 0); several sets with spaces."""
    means_from: Path | None = None
    """Another run whose means take the place of what is ablated; by default this run's."""
    completeness: bool = True
    """Rebuild late heads from their TextSpan as well, with 0, 1, .. texts, all earlier attention ablated."""
    late: int = 4
    """How many of the last layers are late."""
    texts: str | None = None
    """The pool for TextSpan, as `jaxclip textspan` takes it."""
    steps: int | None = None
    """Most texts a head; by default 60, or the heads' rank if that is less."""
    model: str | None = None
    """The run's model, for its text encoder, if it is no longer where it was."""
    batch: int = 64
    """Images classified together."""
    format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figures."""

    def run(self) -> dict[str, Any]:
        check_folder(self.out)
        check_least(batch=self.batch)
        from jaxclip.report.stages import stages

        with stages("ablate") as at:
            at("starting")
            from jaxclip.analyses.ablation import Ablation
            from jaxclip.analyses.ablation_sweeps import ablation_means, ablation_sets, check_means, sweep
            from jaxclip.analyses.smells import class_smells
            from jaxclip.model.head_names import parse_heads
            from jaxclip.report import ablate
            from jaxclip.report.progress import bar
            from jaxclip.runs.inputs import check_model, run_model
            from jaxclip.runs.run import find_run, open_run
            from jaxclip.runs.task import run_classes
            from jaxclip.zeroshot import class_embeddings

            run, chosen = find_run(self.folder), [parse_heads(words) for words in self.heads]
            run.need(bank=True)
            prepared = self._prepare(run)
            sets = ablation_sets(run.config.vision.n_layers, run.config.vision.n_heads, chosen, self.late)
            means_from = self.means_from or self.folder
            check_means(run, find_run(means_from))
            check_model(run, self.model)
            run, means_run = open_run(self.folder), open_run(means_from)
            _ = run.bank  # what is wrong with it is found before the model loads
            task, means = run_classes(run, self.label, self.classes, self.templates), ablation_means(run, means_run)
            at("loading the model")
            clip = run_model(run, self.model)
            at("encoding classes")
            inputs = run, task.rows, means, class_embeddings(clip, task.prompts), task.labels[task.rows]
        with bar("ablations") as progress:
            right = sweep(*inputs, Ablation.stack(list(sets.values())), batch=self.batch, progress=progress)
        correct = dict(zip(sets, right, strict=True))
        result = ablate.ablations_result(run, means_run, task, correct, chosen)
        result["smells"] = class_smells(run, task.rows, inputs[3], task)
        if prepared:
            result["completeness"] = self._complete(inputs, correct, sets, clip, *prepared)
        write_json(self.out / "results.json", result)
        with stages("ablate") as at:
            at("figures")
            figures = ablate.save_figures(result, self.out, self.format)
        ablate.print_ablations(result)
        for line in (task.told, *result["smells"]):
            say(line) if line else None
        say(f"wrote {self.out / 'results.json'}, {', '.join(path.name for path in figures)}")
        return result

    def _prepare(self, run: Any) -> tuple[Any, int] | None:
        """All that can be wrong with what completeness needs is found before anything is loaded."""
        from jaxclip.analyses.textspan import head_sizes
        from jaxclip.runs.inputs import open_pool

        if not 1 <= self.late <= run.config.vision.n_layers:
            raise ValueError(f"late must be 1 to {run.config.vision.n_layers}, the model's layers; got {self.late}.")
        if not self.completeness:
            return None
        run.need(moments=True)
        head = run.config.vision.head_dim, run.config.vision.embed_dim
        steps, _ = head_sizes(*head, min(60, head_sizes(*head, 1)[1]) if self.steps is None else self.steps)
        return open_pool(self.texts, run), steps

    def _complete(self, inputs: Any, correct: Any, sets: Any, clip: Any, pool: Any, steps: int) -> Any:
        import jax

        from jaxclip.analyses.ablation import Ablation
        from jaxclip.analyses.ablation_sweeps import sweep_completeness
        from jaxclip.analyses.textspan import head_bases
        from jaxclip.report.ablate import completeness_result
        from jaxclip.report.progress import bar
        from jaxclip.report.stages import stages
        from jaxclip.runs.inputs import pool_embeddings

        run, rows, means, classes, labels = inputs
        with stages("completeness") as at:
            texts = pool_embeddings(pool, run, clip=clip, progress=lambda *counts: at("encoding texts", *counts))
            at("bases")
            late = jax.tree.map(lambda x: x[-self.late :], run.moments.heads)
            spans = jax.block_until_ready(head_bases(late, texts, steps=steps))
        both = Ablation.stack([sets["nothing"], sets["mlps_and_input"]])
        with bar("completeness") as progress:
            right = sweep_completeness(
                run, rows, means, spans, classes, labels, both, batch=self.batch, progress=progress
            )
        return completeness_result(right, correct, pool.name, self.late)
