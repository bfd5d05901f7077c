"""Every public function that computes stands on the library's own terms, whatever its caller's JAX forbids."""

import ast
import contextlib
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import small_pass
import towers

import jaxclip

LIBRARY = Path(jaxclip.__file__).parent
# What these hold is called inside of others' programs, never by a user; `plan` lowers and `verify` compares towers.
INSIDE = {
    "attention", "axes", "blocks", "forward", "hosts", "moment_places", "nonfinite", "ops", "plan", "pooling",
    "precision", "sharded_moments", "sharding", "step", "stream",
}  # fmt: skip
INSIDE_NAMES = {
    "ablation.check_labels", "metrics.check_labels", "contributions.Readout", "contributions.assemble",
    "component_moments.Collected.add", "component_moments.Collected.add_by", "component_moments.to_arrays",
    "component_moments.from_arrays",
    "moments.Pair", "text.tokens_in", "text.visible", "textspan.sizes", "textspan.TextSpan.first",
    }  # fmt: skip
ARRAYS = r"\b(Array|AnyArray|Images|Heatmaps|Directions)\b"
RESULTS = r"\b(Moments|Collected|Components|Contributions|Circuits|Ends|GroupCounts|HeadState|Neighbours|Principal" \
    r"|PropertyShares|Segmentation|Segmented|SparseTexts|TextSpan)\b"  # fmt: skip
ON_THE_HOST = {"view", "preprocess"}
ROOMS = ("", "analyses", "analyses/segmentation", "devices", "files", "model", "numerics", "planner", "runs")


def public_functions(module, body, prefix=""):
    """(name, its node) of what a module defines without an underscore, methods of public classes among them."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(module, node.body, f"{prefix}{node.name}.")
        if isinstance(node, ast.FunctionDef) and (node.name == "__call__" or not node.name.startswith("_")):
            yield f"{module}.{prefix}{node.name}", node


def computes(node):
    """Whether it is jitted, takes arrays, or returns arrays or what is made of them."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    takes = " ".join(ast.unparse(one.annotation) for one in arguments if one.annotation)
    gives = ast.unparse(node.returns) if node.returns else ""
    jitted = any("jit" in ast.unparse(one) for one in node.decorator_list)
    return jitted or re.search(ARRAYS, takes + " " + gives) or re.search(RESULTS, gives)


def computing():
    for path in sorted(path for room in ROOMS for path in (LIBRARY / room).glob("*.py")):
        if path.stem in INSIDE | ON_THE_HOST:
            continue
        for name, node in public_functions(path.stem, ast.parse(path.read_text(encoding="utf-8")).body):
            if computes(node) and not any(name == one or name.startswith(f"{one}.") for one in INSIDE_NAMES):
                yield name, node


def test_every_public_function_that_computes_is_on_its_own_terms():
    found = dict(computing())
    assert len(found) > 90
    without = [name for name, node in found.items() if "on_own_terms" not in map(ast.unparse, node.decorator_list)]
    assert not without, f"put @on_own_terms above everything but @property and @classmethod of: {', '.join(without)}"


def test_it_stands_above_jit():
    """What a jitted function is given is moved before its body runs."""
    for name, node in computing():
        decorators = [ast.unparse(one) for one in node.decorator_list]
        jits = [place for place, one in enumerate(decorators) if "jit" in one]
        assert all(decorators.index("on_own_terms") < place for place in jits), name


@contextlib.contextmanager
def forbidden():
    """What a researcher may set for a whole session."""
    with jax.numpy_rank_promotion("raise"), jax.transfer_guard("disallow"):
        yield


@contextlib.contextmanager
def searched():
    """As for one who looks for NaN."""
    with jax.debug_nans(True), jax.debug_infs(True):
        yield


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Name -> a call of it: what is exported, and every analysis that docs show; on 21 pictures, two of them broken."""
    from jaxclip import Moments, open_run
    from jaxclip.analyses import (
        ablation_sweeps,
        compare_heads,
        directions,
        head_properties,
        retrieval,
        second_order,
    )
    from jaxclip.analyses.ablation import Ablation, completeness_scores, correct, mean_ablate, single_heads
    from jaxclip.analyses.debias import count_groups, group_means, grouped_rows, sets_by_group
    from jaxclip.analyses.ov_circuits import ov_circuits
    from jaxclip.analyses.segmentation import baselines, relevance, windows
    from jaxclip.analyses.segmentation import masks as segmentation
    from jaxclip.analyses.segmentation.metrics import average_precision, score_batch
    from jaxclip.analyses.textspan import head_bases
    from jaxclip.model.components import Components
    from jaxclip.model.head_coordinates import head_matrices, head_state

    run = open_run(small_pass.run(tmp_path_factory.getbasetemp()).folder)
    vision = small_pass.clip().vision
    rng = np.random.default_rng(0)
    images, texts = towers.images(vision.config), rng.standard_normal((9, 24)).astype(np.float32)
    rows = run.labelled("label")
    labels = run.labels["label"][rows]
    means = run.means()
    matrices, state = run.matrices, run.head_state()
    there = run.head_state(rows)
    spans = head_bases(run.moments.heads, texts, steps=3)
    groups = grouped_rows(run, "label", "group")
    heat = rng.random((2, 3, 4)).astype(np.float32)
    there_heat = jax.numpy.asarray(heat)
    masks = rng.integers(0, 3, (2, 6, 5)).astype(np.int32)
    scores = rng.random((2, 3, 6, 5)).astype(np.float32)
    samples = rng.standard_normal((7, 24)).astype(np.float32)
    components, averages = (Components.of_state(one, matrices) for one in (there, there)), means
    components = next(components)
    every = {name: (lambda f=f: f(vision, images, texts[:2])) for name, f in baselines.BASELINES.items()}
    every |= {
        f.__name__: (lambda f=f: f(vision, images, texts[:2]))
        for f in (relevance.lrp, relevance.partial_lrp, relevance.transformer_attribution)
    }
    one_set = Ablation.of(3, 4, heads=[(1, 2)], mlps=True)
    return every | {
        "ablation": lambda: mean_ablate(components, components.mean(), one_set),
        "correct": lambda: correct(components, means, texts[:3], labels, single_heads(3, 4)),
        "completeness": lambda: completeness_scores(components, averages, spans, texts[:3]),
        "components": lambda: (components.total(), components.mean(np.ones(len(rows))), components.project(texts)),
        "of": lambda: Components.of(vision(images, detail="head")[1]),
        "sweep": lambda: ablation_sweeps.sweep(run, rows, means, texts[:3], labels, single_heads(3, 4), batch=4),
        "sweep_completeness": lambda: ablation_sweeps.sweep_completeness(
            run, rows, means, spans, texts[:3], labels, Ablation.stack([one_set]), batch=4
        ),
        "ablation_means": lambda: ablation_sweeps.ablation_means(run, run),
        "circuits": lambda: (ov_circuits(vision), ov_circuits(vision).share),
        "second_order": lambda: second_order.second_order(vision, images, 0, np.arange(3), texts),
        "neuron_moments": lambda: second_order.neuron_moments(
            vision, [(images, np.ones(2, np.float32))], 0, np.arange(3)
        ),
        "principal": lambda: directions.principal(
            second_order.neuron_moments(vision, [(images, np.ones(2, np.float32))], 0, np.arange(3))
        ),
        "describe": lambda: directions.describe(samples, texts, 2),
        "sparse_texts": lambda: directions.sparse_texts(samples[0], texts, 3),
        "head_state": lambda: head_state(vision, images).normalized().contributions(matrices),
        "head_matrices": lambda: (head_matrices(vision), head_matrices(vision, "separate")),
        "similarity": lambda: compare_heads.similarity(run.moments.heads, run.moments.heads),
        "pairwise": lambda: compare_heads.pairwise_similarity(run.moments.heads, run.moments.heads, (texts, texts)),
        "overlap": lambda: compare_heads.subspace_overlap(run.moments.heads, run.moments.heads, 2),
        "shared_texts": lambda: compare_heads.shared_texts(spans, spans),
        "explained_by": lambda: compare_heads.explained_by(run.moments.heads, texts, np.asarray(spans.indices)),
        "text_effects": lambda: compare_heads.text_effects(run.moments.heads, texts),
        "effect_correlation": lambda: compare_heads.effect_correlation(samples, samples[::-1]),
        "label_share": lambda: compare_heads.label_share(run.state.moments["by/label"].heads, matrices),
        "moments_by": lambda: run.moments_by("group", 0),
        "unreadable": lambda: run.head_state(),
        "head_sum": lambda: retrieval.head_sum(state.heads, matrices, np.ones((3, 4)), means.heads),
        "bank_head_sum": lambda: retrieval.bank_head_sum(run.bank, matrices, [(0, 1), (2, 3)]),
        "embeddings_of": lambda: retrieval.embeddings_of(vision, images, matrices, [(0, 1)], "normalized"),
        "nearest": lambda: retrieval.nearest(texts[:2], state.embedding, 3),
        "nearest one": lambda: retrieval.nearest(
            np.asarray(state.embedding)[rows[:2]], state.embedding, 3, exclude=rows[:2]
        ),
        "mean_precision": lambda: retrieval.mean_precision(state.embedding, run.labels["label"], 3),
        "chance": lambda: retrieval.chance(run.labels["label"], np.arange(2), exclude=True),
        "segment": lambda: segmentation.segment(vision, images, texts),
        "label_pixels": lambda: segmentation.label_pixels(
            vision, images, texts[:3], background=texts[3:], present=np.ones((2, 3), bool), heads=np.ones((3, 4))
        ),
        "enlarged": lambda: segmentation.foreground(segmentation.to_pixels(heat, (48, 33), (16, 8))),
        "resize": lambda: segmentation.resize(segmentation.unit_range(there_heat), (7, 8)),
        "windows": lambda: windows.window_maps(vision, np.concatenate([images[0]] * 2), texts),
        "label_windows": lambda: windows.label_windows(vision, np.concatenate([images[0]] * 2), texts),
        "map": lambda: vision.map(images, texts, each=True),
        "score_batch": lambda: np.array(score_batch(masks, scores, masks[::-1]).confusion),
        "average_precision": lambda: average_precision(scores[0], masks[0]),
        "count_groups": lambda: count_groups(np.ones((4, 6), bool), np.arange(6) % 2, 3, np.ones(6)),
        "group accuracies": lambda: [
            (counts.overall, counts.groups, counts.weighted(np.array([1.0, 2.0])), counts.worst)
            for counts in [count_groups(np.ones((4, 6), bool), np.arange(6) % 2, 2)]
        ],
        "sets_by_group": lambda: sets_by_group(
            run, groups, group_means(run, run, ["label", "group"]), texts[:3], "label", "group", [[(0, 1)], [(2, 2)]]
        ),
        "property_shares": lambda: head_properties.property_shares(run.moments.heads, texts[:4], texts[4:], steps=3),
        "label_shares": lambda: head_properties.label_shares(samples, np.arange(7) % 2),
        "category_shares": lambda: head_properties.category_shares(spans, ["a", "b", "c"] * 3, ["a", "b"]),
        "by_label": lambda: jaxclip.numerics.moments.combined(
            jaxclip.numerics.moments.by_label(samples, np.arange(7) % 2, 2)
        ),
        "textspan": lambda: jaxclip.textspan(Moments.of(samples), texts, steps=3),
    }


def assert_same(everything, names, setting, tolerance=0.0):
    """Each of these functions works under a setting, and gives what it gives without."""
    failed = {}
    for name in names:
        plain = jax.tree.leaves(everything[name]())
        try:
            with setting:
                found = jax.tree.leaves(everything[name]())
            for one, other in zip(plain, found, strict=True):
                np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * max(1, np.nanmax(np.abs(one))))
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {str(error)[:300]}"
    assert not failed, "\n".join(f"{name}: {what}" for name, what in failed.items())


ONE_OF_EACH = [
    "ablation", "sweep", "second_order", "describe", "head_matrices", "text_effects", "nearest", "embeddings_of",
    "resize", "label_windows", "score_batch", "group accuracies", "Grad-CAM", "lrp", "moments_by", "components",
]  # fmt: skip


def test_one_analysis_of_each_kind_where_promotion_and_transfers_are_forbidden(everything):
    with forbidden(), pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        jax.jit(lambda x: x)(np.ones(2))
    for name in ONE_OF_EACH:
        assert_same(everything, [name], forbidden())


def test_images_that_could_not_be_read_are_no_slip_to_one_who_looks_for_nan(everything):
    for name in ("unreadable", "head_sum", "bank_head_sum", "nearest", "nearest one", "mean_precision", "sweep"):
        assert_same(everything, [name], searched())


def test_relevance_in_64_bits(everything):
    """Its rules go through `jax.vjp`, which takes one precision alone; 1e-6, for sums are then of another order."""
    from jaxclip.numerics.precision import _enable_x64

    assert_same(everything, ["transformer_attribution"], _enable_x64(True), 1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("setting", ["forbidden", "nans", "x64", "bfloat16"])
def test_every_analysis_under_what_else_people_set(everything, setting):
    from jaxclip.numerics.precision import _enable_x64

    settings = {
        "forbidden": forbidden,
        "nans": searched,
        "x64": lambda: _enable_x64(True),
        "bfloat16": lambda: jax.default_matmul_precision("bfloat16"),
    }
    for name in everything:
        assert_same(everything, [name], settings[setting](), 1e-6)
