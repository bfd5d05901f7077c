"""Many ablations of a run's images at once: from its bank, a batch of images at a time, without the model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from jaxclip.analyses.ablation import Ablation, check_labels, completeness_scores, mean_ablate
from jaxclip.analyses.textspan import TextSpan
from jaxclip.axes import AnyArray
from jaxclip.devices.sharding import check, local_mesh, place_state, whole_batch
from jaxclip.model.components import Components
from jaxclip.model.head_coordinates import HeadState
from jaxclip.model.head_names import head_name
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.runs.run import Run

Progress = Callable[[int, int], None]


@on_own_terms
def ablation_means(run: Run, other: Run | None = None) -> Components:
    """What takes the place of ablated terms in a run's images: means over the run itself, or over another one.

    Raises:
      ValueError: the other run is of another model or in other units, or the run has no moments.
    """
    check_means(run, run if other is None else other)
    return run.means() if other is None else other.means()


def check_means(run: Run, other: Run) -> None:
    """Refuse means of another run that cannot stand in this one's images; run.json of both is enough.

    Raises:
      ValueError: as in `ablation_means`.
    """
    other.need(moments=True)
    if other.info["model"]["hash"] != run.info["model"]["hash"]:
        raise ValueError(f"means must come from the same model; {other.folder.name} is of other weights.")
    if other.units != run.units:
        raise ValueError(f"means must be in the run's units; {other.folder.name} is {other.units}, not {run.units}.")


def ablation_sets(
    n_layers: int, n_heads: int, chosen: Sequence[Sequence[tuple[int, int]]] = (), n_late: int = 4
) -> dict[str, Ablation]:
    """The paper's sets by name, to be stacked.

    "nothing", "mlps_and_input" (all MLPs and init, which the paper's released code ablates with them), "mlps_alone",
    "class_attn", "both" (class_attn, MLPs and input), "layers.N" for the first N attention layers, "head.L.H" for one
    head, "set.I" for the I-th of `chosen`; and "early" and "early_mlps_and_input", all attention before the last
    `n_late` layers without and with MLPs and input.
    """
    early = range(max(n_layers - n_late, 0))
    names: dict[str, dict[str, Any]] = {
        "nothing": {}, "mlps_and_input": {"mlps": True, "init": True}, "mlps_alone": {"mlps": True, "init": False},
        "class_attn": {"class_attn": True},
        "both": {"mlps": True, "init": True, "class_attn": True}, "early": {"layers": early},
        "early_mlps_and_input": {"layers": early, "mlps": True, "init": True},
    }  # fmt: skip
    names |= {f"layers.{n}": {"layers": range(n)} for n in range(n_layers + 1)}
    names |= {f"head.{head_name(*place)}": {"heads": [place]} for place in product(range(n_layers), range(n_heads))}
    names |= {f"set.{i}": {"heads": heads} for i, heads in enumerate(chosen)}
    return {name: Ablation.of(n_layers, n_heads, **chosen) for name, chosen in names.items()}


@on_own_terms
def sweep(
    run: Run,
    rows: Int[np.ndarray, "image"],
    means: Components,
    classes: Float[AnyArray, "text embed"],
    labels: Int[np.ndarray, "image"],
    ablations: Ablation,
    *,
    batch: int = 64,
    progress: Progress | None = None,
    mesh: Mesh | None = None,
) -> Bool[np.ndarray, "sets image"]:
    """Tell whether each image is classified correctly under each of a stack of ablations.

    Equals `jaxclip.analyses.ablation.correct` on all images at once, in memory that does not grow with their number.

    Args:
      run: with a bank.
      rows: numbers of the images, such as `run.labelled` gives them.
      means: what takes the place of ablated terms, as `ablation_means` gives them.
      classes: class embeddings.
      labels: of those images, 0 .. number of classes - 1.
      ablations: a stack of sets.
      batch: images read and classified together.
      progress: called with how many images are done and how many there are.
      mesh: devices that share images, and heads if it has a model axis; by default all of this host.

    Raises:
      ValueError: no images, one that could not be read, labels out of range, or a bank that is cut short.
    """
    check_labels(labels, len(classes))
    classes = jnp.asarray(classes)
    # Heads go from their coordinates to the classes in one step: their contributions are never built.
    matrices, projected = _project(run.matrices, classes), means.project(classes)
    found = [
        np.asarray(_correct(state, matrices, projected, classes, truth, ablations))[:, :n]
        for state, truth, n in _batches(run, rows, labels, batch, progress, mesh)
    ]
    return np.concatenate(found, axis=1)


@on_own_terms
def sweep_completeness(
    run: Run,
    rows: Int[np.ndarray, "image"],
    means: Components,
    spans: TextSpan,
    classes: Float[AnyArray, "text embed"],
    labels: Int[np.ndarray, "image"],
    ablations: Ablation,
    *,
    batch: int = 64,
    progress: Progress | None = None,
    mesh: Mesh | None = None,
) -> Bool[np.ndarray, "sets step image"]:
    """Tell whether images are classified correctly with late heads rebuilt from 0, 1, .. texts, earlier ones ablated.

    Args:
      spans: of every head of the last layers, stacked [layer, head].
      ablations: what else is ablated, such as MLPs; a stack of sets.

    The other arguments and errors are those of `sweep`.

    Source: arXiv:2310.05916, section 4.3.
    """
    check_labels(labels, len(classes))
    found = [
        np.asarray(_complete(state, run.matrices, means, spans, jnp.asarray(classes), truth, ablations))[..., :n]
        for state, truth, n in _batches(run, rows, labels, batch, progress, mesh)
    ]
    return np.concatenate(found, axis=-1)


def _batches(
    run: Run, rows: np.ndarray, labels: np.ndarray, batch: int, progress: Progress | None, mesh: Mesh | None
) -> Iterator[tuple[HeadState, np.ndarray, int]]:
    """Images, their labels and how many of them count: the last batch is filled up, so that nothing recompiles."""
    if not len(rows) or batch < 1:
        raise ValueError(f"at least one image and a batch of at least 1 are needed; got {len(rows)} and {batch}.")
    run.check_readable(rows)
    mesh = local_mesh() if mesh is None else mesh
    batch = whole_batch(min(batch, len(rows)), mesh)
    if mesh is not None:
        check(mesh.shape, run.config.vision, batch)
    for start in range(0, len(rows), batch):
        places = np.arange(start, min(start + batch, len(rows)))
        filled = np.concatenate([places, np.repeat(places[-1:], batch - len(places))])
        state = jax.tree.map(lambda x, at=filled - start: x[at], run.head_state(rows[places]))
        yield state if mesh is None else place_state(state, mesh), labels[filled], len(places)
        if progress:
            progress(start + len(places), len(rows))


def _project(x: Array, classes: Array) -> Array:
    return jnp.einsum("...e,se->...s", x, classes, precision="highest")


@jax.jit
def _correct(
    state: HeadState, matrices: Array, means: Components, classes: Array, labels: Array, ablations: Ablation
) -> Array:
    parts = {name: _project(getattr(state, name), classes) for name in ("embedding", "mlp", "init", "class_attn")}
    components = Components.of_state(replace(state, **parts), matrices)
    return jax.vmap(mean_ablate, (None, None, 0))(components, means, ablations).argmax(-1) == labels


@jax.jit
def _complete(
    state: HeadState, matrices: Array, means: Components, spans: TextSpan, classes: Array, labels: Array, sets: Ablation
) -> Array:
    components = Components.of_state(state, matrices)
    scores = jax.vmap(completeness_scores, (None, None, None, None, 0))(components, means, spans, classes, sets)
    return scores.argmax(-1) == labels
