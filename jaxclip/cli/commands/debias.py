"""`jaxclip debias`: a spurious cue removed, group by group."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxclip.cli.checks import check_folder, check_least, say, write_json


@dataclass(frozen=True)
class Debias:
    """Accuracy by group before and after heads that hold a cue are mean-ablated; heads are proposed, you may edit.

    jaxclip run scenes scenes --split test --limit 600 --bank --out scenes_run
    jaxclip debias scenes_run --label bird --property background --out scenes_debias
    """

    folder: Positional[Annotated[Path, arg(metavar="RUN")]]
    """What `jaxclip run` left, with moments and --bank."""
    out: Path
    """A folder for results.json and the figures."""
    property: str | None = None
    """The cue: a category of the pool of texts, such as background of the scenes' or landscape of the shipped one; with
    --property-texts any name. Not needed with --heads."""
    property_texts: Path | None = None
    """A file of texts that differ in the cue, one a line."""
    heads: str | None = None
    """These heads instead of the proposed ones, such as 5.2,5.3 (layer.head, from 0)."""
    top: int | None = None
    """So many heads of the ranking; by default all with a score of at least 50%, and one in any case."""
    late: int = 4
    """Heads are proposed, and drawn at random for comparison, from so many last layers."""
    label: str = "label"
    """The kind of label to classify; of the scenes, a factor such as bird."""
    groups: str = "group"
    """The kind of label that says which group an image belongs to."""
    classes: Path | None = None
    """A file of one class a line, matched with the labels by name or number, else in their order; by default the
    labels' own names."""
    templates: str | None = None
    """A file of one prompt a line, with {} where the class goes ({a} with its article), or the name of a shipped list:
    single, general, small, bird, place, scene. By default single, "a photo of {a}."."""
    means_from: Path | None = None
    """A held-out run whose means take the place of the heads; by default this run's."""
    training_groups: str | None = None
    """What the mean over groups is weighted by, as the literature on Waterbirds does: a run over the training split, or
    its images of each group, such as duck_on_land=300,duck_on_water=1200. Waterbirds' metadata.csv says it without."""
    texts: str | None = None
    """The pool that the ranking is made with, as `jaxclip textspan` takes it."""
    steps: int = 10
    """Texts of each head that the ranking looks at."""
    draws: int = 20
    """Sets of random heads."""
    seed: int = 0
    """Of the draws."""
    model: str | None = None
    """The run's model, for its text encoder, if it is no longer where it was."""
    format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figures."""

    def run(self) -> dict[str, Any]:
        check_folder(self.out)
        check_least(steps=self.steps, draws=self.draws)
        if self.seed < 0:
            raise ValueError(f"--seed must be 0 or more; got {self.seed}.")
        from jaxclip.report.stages import stages

        with stages("debias") as at:
            at("starting")
            from jaxclip.analyses.ablation_sweeps import check_means
            from jaxclip.analyses.debias import group_means, grouped_rows, random_draws, sets_by_group
            from jaxclip.analyses.head_proposals import Proposals
            from jaxclip.analyses.smells import class_smells
            from jaxclip.analyses.training_groups import training_groups
            from jaxclip.report import debias
            from jaxclip.report.figures import save_all
            from jaxclip.runs.inputs import check_model, run_model
            from jaxclip.runs.run import find_run, open_run
            from jaxclip.runs.task import run_classes
            from jaxclip.zeroshot import class_embeddings

            run = find_run(self.folder)
            run.need(bank=True)
            means_from = self.means_from or self.folder
            check_means(run, find_run(means_from))
            asked = (self.property,) if self.property else ()
            proposals = Proposals.of(
                run, asked, heads=self.heads, late=self.late, top=self.top, steps=self.steps, texts=self.texts,
                property_texts=self.property_texts,
            )  # fmt: skip
            n, most = len(proposals.heads or ()), self.late * run.config.vision.n_heads
            if n > most:
                raise ValueError(f"as many heads as --heads names, {n}, are drawn from the last layers, --late "
                                 f"{self.late}, which have {most}; name fewer, or a larger --late.")  # fmt: skip
            check_model(run, self.model)
            run, means_run = open_run(self.folder), open_run(means_from)
            _ = run.bank  # what is wrong with it is found before the model loads
            proposals = replace(proposals, run=run)
            task = run_classes(run, self.label, self.classes, self.templates)
            rows = grouped_rows(run, self.label, self.groups)
            training = training_groups(run, self.groups, self.training_groups)
            means = group_means(run, means_run, (self.label, self.groups))
            at("loading the model")
            clip = run_model(run, self.model)
            at("ranking heads")
            shares = proposals.shares(clip, asked).get(self.property or "")
            at("encoding classes")
            classes = class_embeddings(clip, task.prompts)
        chosen = proposals.choose(shares)
        draws = random_draws(run, len(chosen), self.late, self.draws, self.seed)
        ranked = [(layer, head) for layer, head, _ in shares.ranking(late=self.late)] if shares else chosen
        curve = [ranked[:n] for n in range(len(ranked) + 1)]
        with stages("debias") as at:
            at("classifying without sets of heads")
            counts = sets_by_group(run, rows, means, classes, task.labels, self.groups, [[], chosen, *draws, *curve])
        result = debias.debias_result(
            run, means_run, task, self.groups, counts, chosen=chosen, proposed=proposals.heads is None, draws=draws,
            seed=self.seed, late=self.late, property_=self.property, shares=shares, training=training,
        )  # fmt: skip
        result["smells"] = class_smells(run, rows, classes, task)
        write_json(self.out / "results.json", result)
        figures = {"groups": debias.groups_figure, "curve": debias.curve_figure}
        if shares:
            figures["ranking"] = debias.ranking_figure
        with stages("debias") as at:
            at("figures")
            drawn = [save_all(make(result), self.out / name, self.format) for name, make in figures.items()]
        debias.print_debias(result)
        for line in (task.told, *result["smells"]):
            say(line) if line else None
        if training is None:
            say("the mean weighted by the training split's groups, which is what the literature reports, needs "
                "--training-groups: a run over that split, or its images of each group.")  # fmt: skip
        elif result["before"]["weighted"] is None:
            say("the mean weighted by the training groups is unknown: one of them has no images in this run.")
        say(f"wrote {self.out / 'results.json'}, {', '.join(path.name for paths in drawn for path in paths)}")
        if proposals.heads is None:
            say(f"to edit the heads: --heads {','.join(result['heads'])}")
        return result
