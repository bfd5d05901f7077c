"""`jaxclip retrieve`: images alike in one property."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxclip.cli.checks import check_folder, check_least, check_picture, say, write_json

if TYPE_CHECKING:
    from jaxclip.analyses.head_proposals import Proposals
    from jaxclip.clip import Clip
    from jaxclip.runs.run import Run


@dataclass(frozen=True)
class Retrieve:
    """Images of a run nearest to a query by heads that hold a property, beside the nearest by the whole embedding.

    jaxclip run scenes scenes --split test --limit 600 --bank --out scenes_run
    jaxclip retrieve scenes_run 7 --property colour --out scenes_nearest
    """

    folder: Positional[Annotated[Path, arg(metavar="RUN")]]
    """What `jaxclip run` left, with --bank; with moments too, if heads are to be proposed."""
    queries: Positional[Annotated[tuple[str, ...], arg(metavar="QUERY")]] = ()
    """Image files, or images of the run by name or by number: the row in its images.jsonl, from 0 in the data's order.
    None are needed with --precision."""
    out: Path = Path("retrieve_out")
    """A folder for results.json and the figures."""
    property: str | None = None
    """What to be alike in: a category of the pool of texts, such as colour; with --property-texts any name."""
    property_texts: Path | None = None
    """A file of texts that differ in the property, one a line."""
    heads: str | None = None
    """These heads instead of proposed ones, such as 5.2,5.3 (layer.head, from 0)."""
    top: int | None = None
    """So many heads of the ranking; by default all with a score of at least 50%, and one in any case."""
    late: int = 4
    """Heads are proposed from so many last layers."""
    k: int = 10
    """Images for each query."""
    precision: tuple[str, ...] = ()
    """Kinds of label: how many of the k nearest share a query's label, every image being a query, by the heads proposed
    for the property of that name (or by --heads), by the whole embedding and at chance."""
    texts: str | None = None
    """The pool that heads are proposed with, as `jaxclip textspan` takes it."""
    steps: int = 10
    """Texts of each head that the proposal looks at."""
    model: str | None = None
    """The run's model, if it is no longer where it was."""
    data: str | None = None
    """The run's images, if they are no longer where they were."""
    split: str | None = None
    """Of the run's images, where they have splits."""
    format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figures."""

    def run(self) -> dict[str, Any]:
        check_folder(self.out)
        check_least(k=self.k, steps=self.steps)
        from jaxclip.report.stages import stages

        with stages("retrieve") as at:
            at("starting")
            from jaxclip.model.head_names import head_name
            from jaxclip.report import retrieve
            from jaxclip.report.debias import print_ranking, ranking_rows
            from jaxclip.runs.images import find_image
            from jaxclip.runs.inputs import run_model
            from jaxclip.runs.run import find_run, open_run

            asked, proposals = self._properties(), self._proposals(find_run(self.folder))
            run = open_run(self.folder)
            proposals, places = replace(proposals, run=run), [find_image(run, query) for query in self.queries]
            self._check(run, places)
            at("loading the model")
            clip = run_model(run, self.model) if asked or None in places else None
            at("ranking heads")
            shares = proposals.shares(clip, asked) if clip and asked else {}
        result = retrieve.retrieval_result(run, self.k, self.property, proposed=proposals.heads is None)
        with stages("retrieve") as at:
            if self.queries:
                at("searching")
                own = shares.get(self.property or "")
                chosen = proposals.choose(own)
                result["heads"] = [head_name(*head) for head in chosen]
                result["ranking"] = ranking_rows(own, self.late) if own else []
                self._search(run, clip, places, chosen, result)
            for i, kind in enumerate(self.precision):
                at("precision", i, len(self.precision))
                result["precision"][kind] = retrieve.precision_entry(
                    run, kind, proposals.choose(shares.get(kind)), self.k, run.label_names[kind]
                )
            at("pictures")
            self.out.mkdir(parents=True, exist_ok=True)
            figures = self._figures(run, clip, places, result)
        write_json(self.out / "results.json", result)
        if result["ranking"]:
            print_ranking(result)
        retrieve.print_retrieval(result)
        say(f"wrote {', '.join(['results.json', *figures])} in {self.out}")
        return result

    def _properties(self) -> tuple[str, ...]:
        """For which heads are to be looked at."""
        of_labels = () if self.heads else self.precision
        return tuple(dict.fromkeys(([self.property] if self.property and self.queries else []) + list(of_labels)))

    def _proposals(self, run: "Run") -> "Proposals":
        """What can be wrong is found before anything is read: run.json is enough."""
        from jaxclip.analyses.head_proposals import Proposals
        from jaxclip.data.source import kinds_there
        from jaxclip.runs.inputs import check_model

        if not self.queries and not self.precision:
            raise ValueError("give a query, an image file or an image of the run by name or number, or --precision.")
        if self.queries and not (self.property or self.heads):
            raise ValueError("say what images should be alike in with --property, or give --heads.")
        if missing := [kind for kind in self.precision if kind not in run.label_names]:
            there = kinds_there(run.label_names)
            raise ValueError(f"{run.folder} has no labels of kind {missing[0]!r}; it has {there}.")
        run.need(bank=True)
        asked = self._properties()
        proposals = Proposals.of(
            run, asked, heads=self.heads, late=self.late, top=self.top, steps=self.steps, texts=self.texts,
            property_texts=self.property_texts,
        )  # fmt: skip
        if asked:
            check_model(run, self.model)
        return proposals

    def _check(self, run: "Run", places: list[int | None]) -> None:
        """All else that can be wrong is found before the model is loaded."""
        from jaxclip.runs.images import run_source
        from jaxclip.runs.inputs import check_model

        if not 1 <= self.k < run.n_images:
            raise ValueError(f"k must be 1 to {run.n_images - 1}, one less than the images of the run; got {self.k}.")
        for query, place in zip(self.queries, places, strict=True):
            if place is None:
                check_picture(Path(query))
        if None in places:  # the model looks at them
            check_model(run, self.model, texts=False)
        if self.queries:  # whose neighbours are shown
            run_source(run, self.data, self.split)

    def _search(
        self, run: "Run", clip: "Clip | None", places: list[int | None], chosen: list[tuple[int, int]], result: Any
    ) -> None:
        import numpy as np

        from jaxclip.analyses.retrieval import bank_head_sum, embeddings_of, nearest
        from jaxclip.report.retrieve import query_entry

        by_heads, by_embedding = bank_head_sum(run.bank, run.matrices, chosen), run.bank.read("embedding")
        for query, place in zip(self.queries, places, strict=True):
            if place is not None:
                own = by_heads[place : place + 1], by_embedding[place : place + 1]
            elif clip is not None:
                own = embeddings_of(clip.vision, _inputs(run, clip, query), run.matrices, chosen, run.units)
            else:
                raise ValueError(f"{query} is no image of the run, so the model is needed to look at it.")
            exclude = np.array([-1 if place is None else place])
            # What heads say of every image alike is no likeness; whole embeddings are compared as CLIP compares them.
            mean = by_heads[run.rows].mean(0)
            found = (
                nearest(own[0] - mean, by_heads - mean, self.k, exclude=exclude),
                nearest(own[1], by_embedding, self.k, exclude=exclude),
            )
            result["queries"].append(query_entry(run, query, place, *found))

    def _figures(self, run: "Run", clip: "Clip | None", places: list[int | None], result: Any) -> list[str]:
        from jaxclip.preprocess import unnormalize
        from jaxclip.report import retrieve
        from jaxclip.report.figures import save_all
        from jaxclip.runs.images import run_pictures

        names = []
        if self.precision:
            names += save_all(retrieve.precision_figure(result), self.out / "precision", self.format)
        needed = sorted({row["index"] for entry in result["queries"] for way in retrieve.WAYS for row in entry[way]})
        needed = sorted({*needed, *(place for place in places if place is not None)})
        if not needed:
            return [path.name for path in names]
        shown = dict(zip(needed, run_pictures(run, needed, self.data, self.split), strict=True))
        for i, place in enumerate(places):
            if place is not None:
                asked = shown[place]
            elif clip is not None:
                asked = unnormalize(_inputs(run, clip, self.queries[i])[0], run.config.preprocess)
            else:
                continue
            figure = retrieve.neighbours_figure(result, i, shown, asked)
            names += save_all(figure, self.out / f"nearest_{i}", self.format)
        return [path.name for path in names]


def _inputs(run: "Run", clip: "Clip", query: str) -> Any:
    """A file as the run's own images were read; where photographs stayed as stored, one that is turned warns."""
    return clip.preprocess([query], apply_exif=run.info["options"]["apply_exif"] or None)
