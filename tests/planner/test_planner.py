"""What a compiled program does is read from its text, and a TPU's program is had without a TPU."""

import os
import subprocess
import sys
from dataclasses import asdict
from math import prod
from pathlib import Path

import jax
import pytest
import towers

from jaxclip.cli.main import main
from jaxclip.planner import plan, work
from jaxclip.planner.hlo_text import Shape, n_bytes, shapes_in
from jaxclip.planner.largest_batch import largest_batch
from jaxclip.runs.component_moments import Collected

LAYERS, BATCH, WIDTH, NEURONS = 5, 32, 16, 64
PROGRAMS = """
import sys, pathlib, jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

LAYERS, BATCH, WIDTH, NEURONS = map(int, sys.argv[2:])
devices = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)

def shape(where, *dims):
    return jax.ShapeDtypeStruct(dims, jnp.float32, sharding=NamedSharding(devices, P(*where)))

def mlps(x, into, out):
    def layer(x, both):
        return x + jnp.tanh(x @ both[0]) @ both[1], None
    x, _ = jax.lax.scan(layer, x, (into, out))
    return jnp.einsum("bw,bv->wv", x, x)

def nested(x, kernel):
    def inner(x, _):
        return jnp.tanh(x @ kernel), None
    def outer(x, _):
        return jax.lax.scan(inner, x, length=3)[0], None
    return jax.lax.scan(outer, x, length=7)[0]

def attention(q, k):
    return jnp.einsum("bhqc,bhtc->bhqt", q, k)

def filters(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), ((1, 0), (0, 0)), dimension_numbers=("NHWC", "HWIO", "NHWC"))

every, none = ("data",), ()
programs = {
    "mlps": (mlps, shape(every, BATCH, WIDTH), shape((None, None, "model"), LAYERS, WIDTH, NEURONS),
             shape((None, "model"), LAYERS, NEURONS, WIDTH)),
    "nested": (nested, shape(every, BATCH, WIDTH), shape(none, WIDTH, WIDTH)),
    "attention": (attention, shape(every, BATCH, 3, 5, 8), shape(every, BATCH, 3, 7, 8)),
    "filters": (filters, shape(none, 2, 9, 8, 3), shape(none, 2, 2, 3, 6)),
}
for name, (function, *shapes) in programs.items():
    text = jax.jit(function).lower(*shapes).compile().as_text()
    pathlib.Path(sys.argv[1], name).write_text(text)
"""


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Small programs as eight devices, two times four, run them."""
    out = tmp_path_factory.mktemp("hlo")
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    sizes = [str(size) for size in (LAYERS, BATCH, WIDTH, NEURONS)]
    command = [sys.executable, "-c", PROGRAMS, str(out), *sizes]
    subprocess.run(command, env=environment, check=True)
    return {path.name: path.read_text() for path in out.iterdir()}


def test_a_loop_counts_as_often_as_it_runs(texts):
    found = work.work(texts["mlps"])
    products = LAYERS * 2 * (BATCH // 2) * WIDTH * (NEURONS // 4) * 2 + 2 * (BATCH // 2) * WIDTH * WIDTH
    assert found.flops == products
    assert found.loops == 0
    assert work.work(texts["nested"]).flops == 3 * 7 * 2 * (BATCH // 2) * WIDTH * WIDTH


def test_collectives_with_their_bytes_and_groups(texts):
    found = work.work(texts["mlps"]).collectives
    told = sorted((one.kind, one.bytes, one.times, one.devices) for one in found)
    inside, after = BATCH // 2 * WIDTH * 4, WIDTH * WIDTH * 4
    assert told == sorted([("all-reduce", inside, LAYERS, 4), ("all-reduce", after, 1, 2)])
    assert any("bw,bv->wv" in one.source for one in found)
    assert work.work(texts["attention"]).collectives == ()


def test_products_of_stacks_and_convolutions(texts):
    assert work.work(texts["attention"]).flops == 2 * (BATCH // 2) * 3 * 5 * 7 * 8
    # Of ten rows, one of them padding, the kernel's upper row meets the padding once.
    taps = (2 * 5 - 1) * (2 * 4)
    assert work.work(texts["filters"]).flops == 2 * 2 * 3 * 6 * taps


def line(name, type_, left, right, attributes):
    return f"""HloModule m

ENTRY %main (a: f32[1], b: f32[1]) -> f32[1] {{
  %a = {left}{{1,0:T(8,128)}} parameter(0)
  %b = {right}{{1,0:T(8,128)}} parameter(1)
  ROOT %{name} = {type_}{{2,1,0:T(8,128)}} convolution(%a, %b), {attributes}
}}
"""


def test_a_stack_of_products_that_a_tpu_writes_as_a_convolution():
    """12 products of [13, 8] and [8, 5]: holes between the stack's elements let each meet its own kernel only."""
    attributes = "window={size=12 stride=11 pad=0_0 lhs_dilate=12}, dim_labels=0bf_0io->0bf"
    text = line("c", "f32[12,13,5]", "f32[12,13,8]", "f32[12,8,5]", attributes)
    assert work.work(text).flops == 2 * 12 * 13 * 8 * 5


LOOP = """HloModule m

%body (p: (s32[], f32[4,4], s32[])) -> (s32[], f32[4,4], s32[]) {
  %p = (s32[]{:T(128)}, f32[4,4]{1,0}, s32[]) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %copied = s32[]{:T(128)S(6)} copy(%i)
  %one = s32[] get-tuple-element(%p), index=2
  %next = s32[] add(%copied, %one)
  %x = f32[4,4]{1,0:T(8,128)S(1)} get-tuple-element(%p), index=1
  %y = f32[4,4]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %t = (s32[], f32[4,4]{1,0}, s32[]) tuple(%next, %y, %one)
}

%condition (p.1: (s32[], f32[4,4], s32[])) -> pred[] {
  %p.1 = (s32[], f32[4,4]{1,0}, s32[]) parameter(0)
  %n = s32[] constant(9)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%i.1, %n), direction=LT
}

ENTRY %main (x.1: f32[4,4]) -> f32[4,4] {
  %x.1 = f32[4,4]{1,0} parameter(0)
  %zero = s32[] constant(START)
  %one.1 = s32[] constant(1)
  %all = (s32[], f32[4,4]{1,0}, /*index=2*/s32[]) tuple(%zero, %x.1, %one.1)
  %loop = (s32[], f32[4,4]{1,0}, s32[]) while(%all), condition=%condition, body=%body
  ROOT %out = f32[4,4]{1,0} get-tuple-element(%loop), index=1
}
"""


@pytest.mark.parametrize("start", [0, 2])
def test_a_loop_whose_count_the_compiler_leaves_out(start):
    found = work.work(LOOP.replace("START", str(start)))
    assert (found.flops, found.loops) == ((9 - start) * 2 * 4**3, 0)


def test_a_loop_that_nobody_can_count_is_told():
    found = work.work(LOOP.replace("direction=LT", "direction=NE"))
    assert (found.flops, found.loops) == (2 * 4**3, 1)


def test_types_and_what_is_no_program():
    tuple_ = "(f32[2,3]{1,0:T(8,128)S(1)}, /*index=1*/bf16[4]{0}, pred[], s4[3])"
    assert shapes_in(tuple_) == [Shape("f32", (2, 3)), Shape("bf16", (4,)), Shape("pred", ()), Shape("s4", (3,))]
    assert [n_bytes(shape) for shape in shapes_in(tuple_)] == [24, 8, 1, 2]
    with pytest.raises(ValueError, match="no ENTRY computation"):
        work.work("nothing")


@pytest.mark.parametrize("guessed", [0.5, 1, 1.3], ids=["limit too low", "limit right", "limit too high"])
@pytest.mark.parametrize("limit", [3, 16, 100, 1000, 5000, 10**6])
def test_the_largest_batch_is_found_between_one_that_fits_and_one_that_does_not(limit, guessed):
    tried = []

    def peak(batch):
        tried.append(batch)
        return 10**6 + batch**2 + 100 * batch if batch <= limit else None

    there = 10**6 + limit**2 + 100 * limit
    fits, fails = largest_batch(peak, 256, 4, int(guessed * there), tries=12)
    assert len(tried) == len(set(tried))
    assert all(batch % 4 == 0 for batch in tried)
    assert fails > limit
    if limit < 4:
        assert fits is None
        return
    assert fits <= limit
    assert fails - fits <= max(4, fits // 16)


def test_a_straight_line_is_followed_to_its_end():
    tried = []

    def peak(batch):
        tried.append(batch)
        return 500 + 3 * batch if batch <= 10_000 else None

    fits, fails = largest_batch(peak, 256, 8, 500 + 3 * 10_000)
    assert (fits, len(tried)) == (10_000, 4)
    assert fails == 10_000 + 8 * (10_000 // 8 // 16)


def test_memory_that_does_not_grow_yet_is_no_line_to_follow():
    tried = []

    def peak(batch):
        tried.append(batch)
        return max(10**6 - batch, 100 * batch) if batch <= 50_000 else None

    fits, fails = largest_batch(peak, 256, 8, 5_000_000, tries=12)
    assert max(tried) < 10 * 50_000
    assert 50_000 * 15 / 16 < fits <= 50_000 < fails <= fits * 17 / 16


def test_a_question_without_an_answer_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys, unchecked):
    for change, message in (
        ({"chip": "v5p"}, "3 axes, such as 2x2x4"), ({"topology": "4xx"}, "2 axes, such as 4x4"),
        ({"topology": "64x64"}, "at most 256 chips; 64x64 is 4096"),
        ({"batch": 0}, "at least 1"), ({"model": 0}, "at least 1"), ({"chip": "v1"}, "chip must be one of v5e"),
        ({"values": -1}, "counted by a pass; got values=-1"),
        ({"values": 2, "detail": "full"}, "got values=2 with detail='full'"),
        ({"detail": "all"}, "detail must be one of pass"), ({"effort": "some"}, "effort must be one of full, quick"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            plan.Plan(**change)
    monkeypatch.delenv(plan.PYTHON, raising=False)
    with pytest.raises(FileNotFoundError, match=r"planner_env\.sh"):
        plan.python_with_libtpu(tmp_path / "python")
    find = plan.util.find_spec
    monkeypatch.setattr(plan.util, "find_spec", lambda name: None if name == "libtpu" else find(name))
    with pytest.raises(SystemExit, match="1"):
        main(["plan", "ViT-B-16"])
    said = capsys.readouterr().err
    assert "libtpu" in said
    assert plan.PYTHON in said
    assert len(said.splitlines()) == 1


@pytest.fixture(scope="module")
def python():
    """A Python that has libtpu: the one that JAXCLIP_PLANNER_PYTHON names, or planner_env/ in the checkout."""
    made = Path(__file__).resolve().parents[2] / "planner_env" / "bin" / "python"
    try:
        return plan.python_with_libtpu(os.environ.get(plan.PYTHON) or (made if made.exists() else None))
    except FileNotFoundError:
        pytest.skip(f"needs libtpu: `sh tpu/planner_env.sh planner_env`, or {plan.PYTHON} names a Python that has it")


@pytest.mark.parametrize("values", [0, 3])
def test_on_a_tpu_slice_only_sums_of_moments_cross_devices(python, values):
    config = towers.vision().config
    question = plan.Plan(batch=64, topology="2x4", values=values, largest=False, effort="quick")
    answer = plan.ask(config, question, python)
    assert answer["fits"]
    assert answer["devices"] == 8
    assert {one["kind"] for one in answer["collectives"]} == {"all-reduce"}
    assert {one["devices"] for one in answer["collectives"]} == {8}
    moments = (1 + values) * sum(leaf.nbytes for leaf in jax.tree.leaves(Collected.zero(config)))
    crossed = sum(one["bytes"] * one["times"] for one in answer["collectives"])
    assert 0.9 * moments < crossed < 1.1 * moments
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(towers.params(towers.vision())))
    assert answer["memory"]["arguments"] > weights + moments
    assert answer["flops"] > 8 * config.n_layers * 2 * prod((config.n_tokens, config.width, 4 * config.width))
    assert answer["question"] == asdict(question)


def test_heads_and_neurons_in_two_parts_cross_in_every_layer(python):
    config = towers.vision().config
    question = plan.Plan(batch=64, topology="2x4", model=2, detail="plain", largest=False, effort="quick")
    found = plan.ask(config, question, python)["collectives"]
    inside = [one for one in found if one["devices"] == 2 and one["kind"] == "all-reduce"]
    assert sum(one["times"] for one in inside) >= config.n_layers
    assert max(one["bytes"] for one in inside) >= 64 // 4 * config.n_tokens * config.width * 4


def test_what_libtpu_or_the_slice_refuses_is_one_line(python):
    config = towers.vision().config
    for change, message in (
        ({"topology": "3x5"}, "v5e has no topology 3x5; pass another"),
        ({"batch": 63}, "a batch of 63 cannot be split over 8 devices; pass batch=64"),
        ({"model": 3}, "model=3 must divide the 8 devices"), ({"model": 8}, "the devices of one host, 4; got model=8"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message) as refused:
            plan.ask(config, plan.Plan(**{"topology": "2x4", "batch": 64, "largest": False} | change), python)
        assert "\n" not in str(refused.value)
