"""Retrieval for people: nearest images as JSON and side by side, precision by factor as a table and a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from jaxclip.analyses.retrieval import Neighbours, bank_head_sum, chance, mean_precision
from jaxclip.model.head_names import head_name
from jaxclip.report.colours import BLUE, GREY, RED, on_paper
from jaxclip.report.lettering import wrapped
from jaxclip.report.tables import print_numbers
from jaxclip.runs.run import Run

Image = UInt8[np.ndarray, "height width channel"]
WAYS = ("by_heads", "by_embedding")


def retrieval_result(run: Run, k: int, property_: str | None, *, proposed: bool) -> dict[str, Any]:
    """Where results of a retrieval are filled in, all in plain JSON types.

    Returns:
      `run`, `model`, `n_images`, `k`, `property`, `heads` ("layer.head", that queries were compared by), `proposed`
      (False where they were given), `ranking` (see `jaxclip.report.debias.ranking_rows`), `queries` (see
      `query_entry`) and `precision` by kind of label (see `precision_entry`).
    """
    return {
        "run": str(run.folder), "model": run.info["model"]["name"], "n_images": run.n_images, "k": k,
        "property": property_, "heads": [], "proposed": proposed, "ranking": [], "queries": [], "precision": {},
    }  # fmt: skip


def query_entry(
    run: Run, query: str, place: int | None, by_heads: Neighbours, by_embedding: Neighbours
) -> dict[str, Any]:
    """One query.

    Returns:
      `query` (as it was given), `name` (of the run's image, or the query), `index` (the image's number; None for a
      file), `by_heads` and `by_embedding` (see `neighbour_rows`) and `n_common`, how many images both found.
    """
    rows = {way: neighbour_rows(run, found, 0) for way, found in zip(WAYS, (by_heads, by_embedding), strict=True)}
    common = set.intersection(*({row["index"] for row in found} for found in rows.values()))
    name = query if place is None else run.names[place]
    return {"query": query, "name": name, "index": place, **rows, "n_common": len(common)}


def precision_entry(
    run: Run, kind: str, heads: Sequence[tuple[int, int]], k: int, names: Sequence[str]
) -> dict[str, Any]:
    """precision@k of one kind of label, every image that has it being a query among the others that have it.

    Returns:
      `heads`, `n_images`, `n_values`, and means over the queries between 0 and 1: `by_heads`, `by_embedding`,
      `by_centred_embedding` (the mean embedding taken off, as is done for heads) and `chance`.
    """
    labels, embeddings = run.labels[kind], run.bank.read("embedding")
    vectors, has = bank_head_sum(run.bank, run.matrices, heads), run.labelled(kind)
    return {
        "heads": [head_name(*head) for head in heads], "n_images": len(has), "n_values": len(names),
        "by_heads": mean_precision(vectors - vectors[has].mean(0), labels, k),
        "by_embedding": mean_precision(embeddings, labels, k),
        "by_centred_embedding": mean_precision(embeddings - embeddings[has].mean(0), labels, k),
        "chance": float(np.mean(chance(labels[has], labels[has], exclude=True))),
    }  # fmt: skip


def neighbour_rows(run: Run, found: Neighbours, query: int) -> list[dict[str, Any]]:
    """One query's neighbours, nearest first.

    Returns:
      For each `index` (its number, the `row` in images.jsonl), `name`, `similarity` (cosine) and `labels` (kind ->
      name, those that it has).
    """
    names = run.label_names
    rows = zip(np.asarray(found.indices[query]), np.asarray(found.similarity[query]), strict=True)
    return [
        {
            "index": int(index), "name": run.names[index], "similarity": float(similarity),
            "labels": {kind: names[kind][run.labels[kind][index]] for kind in names if run.labels[kind][index] >= 0},
        }
        for index, similarity in rows
    ]  # fmt: skip


@on_paper
def neighbours_figure(result: dict[str, Any], query: int, shown: Mapping[int, Image], asked: Image) -> Figure:
    """The query, and two rows of its nearest images: by the chosen heads and by the whole embedding.

    Args:
      result: of `jaxclip retrieve`.
      query: which of its queries.
      shown: pictures of the neighbours by index.
      asked: the query's.
    """
    entry, k = result["queries"][query], result["k"]
    n = min(k, 10)
    figure = Figure(figsize=(1.25 * (n + 1.4), 3.5), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(1.3, n))
    left, right = parts
    axis = left.subplots()
    axis.imshow(asked)
    axis.set(xticks=[], yticks=[])
    axis.set_title(wrapped(entry["name"], 18), fontsize=9)
    words = result["property"] or "chosen heads"
    titles = (f"by {words}: heads {', '.join(result['heads'])}", "by the whole embedding")
    for part, way, title in zip(right.subfigures(2, 1), WAYS, titles, strict=True):
        part.suptitle(title if len(title) < 90 else f"{title[:87]}...", fontsize=9)
        for axis, row in zip(np.ravel(part.subplots(1, n, squeeze=False)), entry[way], strict=False):
            axis.imshow(shown[row["index"]])
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(f"{row['similarity']:.2f}", fontsize=7)
    return figure


@on_paper
def precision_figure(result: dict[str, Any]) -> Figure:
    """precision@k of each factor: by its heads, by the whole embedding, at chance."""
    found = result["precision"]
    figure = Figure(figsize=(max(5.0, 1.1 * len(found) + 2), 4), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(found))
    for shift, name, colour, words in (
        (-0.27, "by_heads", BLUE, "by the factor's heads"), (0, "by_embedding", RED, "by the whole embedding"),
        (0.27, "chance", GREY, "at chance"),
    ):  # fmt: skip
        axis.bar(places + shift, [entry[name] for entry in found.values()], 0.26, color=colour, label=words)
    ticks = [f"{name}\n{', '.join(entry['heads'][:3])}{' ..' * (len(entry['heads']) > 3)}" for name, entry in
             found.items()]  # fmt: skip
    axis.set_xticks(places, ticks, fontsize=8)
    axis.set(ylabel=f"precision@{result['k']}", ylim=(0, 1.02))
    figure.legend(fontsize=8, ncols=3, loc="outside lower center")
    return figure


def print_retrieval(result: dict[str, Any]) -> None:
    """All tables."""
    print_neighbours(result)
    if result["precision"]:
        print_precision(result)


def print_neighbours(result: dict[str, Any], most: int = 5) -> None:
    """The nearest few of each query for the terminal."""
    for entry in result["queries"]:
        pairs = list(zip(*(entry[way] for way in WAYS), strict=True))[:most]
        rows = {
            str(place): (*(f"{one['index']}  {one['name']}  {one['similarity']:.3f}" for one in pair),)
            for place, pair in enumerate(pairs, 1)
        }
        columns = ("", f"by heads {', '.join(result['heads'])}", "by the whole embedding")
        some = f", the first {len(pairs)} here" if len(pairs) < result["k"] else ""
        number = "" if entry["index"] is None else f" (image {entry['index']})"
        both = f"{entry['n_common']} of {result['k']} in both{some}"
        title = f"Nearest to {entry['name']}{number} by cosine similarity; {both}"
        print_numbers(title, rows, columns)


def print_precision(result: dict[str, Any]) -> None:
    """precision@k of each factor for the terminal."""
    rows = {
        name: (
            ", ".join(entry["heads"]), f"{entry['by_heads']:.1%}", f"{entry['by_embedding']:.1%}",
            f"{entry['by_centred_embedding']:.1%}", f"{entry['chance']:.1%}", str(entry["n_images"]),
        )
        for name, entry in result["precision"].items()
    }  # fmt: skip
    columns = ("factor", "heads", "by heads", "whole embedding", "the same, centred", "chance", "images")
    print_numbers(f"precision@{result['k']}", rows, columns)
