"""Costs read out of compiled programs."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jaxft.costs import costs
from jaxft.costs.collectives import Collective, collectives
from jaxft.costs.hlo import computations, shape_bytes
from jaxft.costs.model_time import model_time
from jaxft.costs.traffic import touched
from jaxft.devices import chips
from jaxft.devices.platform import Platform

HLO = """HloModule step
%inside (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %double = f32[8]{0} add(%p, %p), backend_config={"estimated_cycles":"999"}
}

ENTRY %main (a: f32[8], b: bf16[4,2]) -> f32[8] {
  %a = f32[8]{0:T(128)} parameter(0)
  %b = bf16[4,2]{1,0} parameter(1)
  %f = f32[8]{0} fusion(%a), kind=kLoop, calls=%inside, backend_config={"estimated_cycles":"3000"}
  %sum = (f32[8]{0}, bf16[4,2]{1,0}) all-reduce(%f, %b), channel_id=1
  %free = f32[8]{0} custom-call(%a), custom_call_target="ConcatBitcast"
  %g = f32[8]{0} fusion(%f, %a), kind=kCustom, calls=%inside
  ROOT %out = f32[8]{0} copy(%g), backend_config={"estimated_cycles":"1500"}
}
"""


def test_shapes_have_bytes():
    assert shape_bytes("(f32[8,128]{1,0:T(8,128)}, bf16[3], pred[5], s32[])") == 4096 + 6 + 9
    assert shape_bytes("u4[3]") == 2


def test_collectives_by_kind_and_bytes():
    assert collectives(computations(HLO)) == {"all-reduce": Collective(1, 32 + 16)}


def test_what_the_compiler_has_no_estimate_for_is_charged_at_its_roofline():
    time = model_time(computations(HLO), chips.TPUS["v5e"])
    assert time.costed == pytest.approx(4500 / 1.5e9)
    assert {kind: charge.number for kind, charge in time.charges.items()} == {
        "all-reduce": 1,
        "fusion": 1,
    }
    assert time.charges["all-reduce"].seconds == pytest.approx((48 + 32 + 16) / 0.819e12)
    assert time.charged == pytest.approx((48 + 32 + 16 + 3 * 32) / 0.819e12)


LOOP = """HloModule loop
%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %y = f32[8]{0} all-reduce(%x), channel_id=1, to_apply=%sum
  %z = f32[8]{0} negate(%y), backend_config={"estimated_cycles":"100"}
  ROOT %t = (s32[], f32[8]{0}) tuple(%i, %z)
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[], f32[8]{0}) parameter(0)
  %n = s32[]{:T(128)} constant(5)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = (s32[], f32[8]{0}) parameter(0)
  ROOT %w = (s32[], f32[8]{0}) while(%a), condition=%condition, body=%bodyTRIPS
}
"""


@pytest.mark.parametrize("known,trips", [
    ("", 5), (', backend_config={"known_trip_count":{"n":"7"}}', 7),
])  # fmt: skip
def test_what_a_loop_holds_counts_as_often_as_it_runs(known, trips):
    program = computations(LOOP.replace("TRIPS", known))
    assert collectives(program) == {"all-reduce": Collective(trips, trips * 32)}
    time = model_time(program, chips.TPUS["v5e"])
    assert time.costed == pytest.approx(trips * 100 / 1.5e9)
    assert list(time.charges) == ["all-reduce"]
    number, seconds = time.charges["all-reduce"]
    assert number == trips and seconds == pytest.approx(trips * 64 / 0.819e12)


def test_a_compiled_loop_is_read_so():
    def loop(x):
        return lax.scan(lambda c, _: (lax.psum(jnp.sin(c), "data"), None), x, length=3)[0]

    auto = (AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=auto)
    spec = PartitionSpec("data")
    mapped = jax.shard_map(loop, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    found = costs.of_compiled(jax.jit(mapped).lower(jnp.zeros(8)).compile(), None, passes=3)
    assert found.collectives == {"all-reduce": Collective(3, 3 * 16)}


def test_bytes_are_those_of_operands_and_results():
    program = computations(HLO)
    assert touched(program) == 2 * 32 + 2 * (32 + 16) + 3 * 32 + 2 * 32
    assert touched(computations(LOOP.replace("TRIPS", ""))) == 5 * (64 + 64)


EPOCH = """HloModule epoch
%rows (features: f32[1000,8], index: s32[4]) -> f32[4,8] {
  %features = f32[1000,8]{1,0} parameter(0)
  %flat = f32[1000,8]{1,0} bitcast(%features)
  %index = s32[4]{0} parameter(1)
  ROOT %gather = f32[4,8]{1,0} gather(%flat, %index), offset_dims={1}
}

%note (losses: f32[500], loss: f32[], step: s32[]) -> f32[500] {
  %loss = f32[] parameter(1)
  %step = s32[] parameter(2)
  %losses = f32[500]{0} parameter(0)
  %one = f32[1]{0} bitcast(%loss)
  ROOT %update = f32[500]{0} dynamic-update-slice(%losses, %one, %step)
}

%both (whole: f32[1000,8]) -> f32[8] {
  %whole = f32[1000,8]{1,0} parameter(0)
  %part = f32[1,8]{1,0} slice(%whole), slice={[0:1], [0:8]}
  ROOT %sum = f32[8]{0} reduce(%whole, %part), dimensions={0}
}

ENTRY %main (features: f32[1000,8], index: s32[4], losses: f32[500]) -> f32[500] {
  %features = f32[1000,8]{1,0} parameter(0)
  %index = s32[4]{0} parameter(1)
  %losses = f32[500]{0} parameter(2)
  OPERATION
}
"""
MANY, FEW = 4 * 8000, 4 * 32  # bytes of all rows, and of four


@pytest.mark.parametrize("operation, size", [
    ("%x = f32[4,8]{1,0} fusion(%features, %index), kind=kLoop, calls=%rows", 2 * FEW + 16),
    ("%x = f32[4,8]{1,0} gather(%features, %index), offset_dims={1}", 2 * FEW + 16),
    ("%x = f32[4,8]{1,0} dynamic-slice(%features, %index), sizes={4,8}", 2 * FEW + 16),
    ("%x = f32[500]{0} fusion(%losses, %loss, %step), kind=kLoop, calls=%note", 4),
    ("%x = f32[8]{0} fusion(%features), kind=kInput, calls=%both", MANY + 32),
    ("%x = f32[8]{0} fusion(%features), kind=kInput, calls=%elsewhere", MANY + 32),
    ("%x = f32[1000,8]{1,0} negate(%features)", 2 * MANY),
])  # fmt: skip
def test_of_an_array_the_parts_that_are_used_count(operation, size):
    assert touched(computations(EPOCH.replace("OPERATION", operation))) == size


def test_an_epochs_steps_share_its_costs():
    def epoch(x, w):
        def step(total, start):
            return total + lax.dynamic_slice(x, (start, 0), (4, 8)) @ w, None

        return lax.scan(step, jnp.zeros((4, 8)), jnp.arange(50) * 4)[0]

    compiled = jax.jit(epoch).lower(jnp.zeros((200, 8)), jnp.zeros((8, 8))).compile()
    chip = chips.Chip("slow", 1024.0, 1e9, 1e12)
    found = costs.of_epoch(compiled, chip, 50, counted=50 * 2 * 4 * 8 * 8)
    assert found.flops == 2 * 4 * 8 * 8 and found.roofline_seconds == 0.5
    rows = 4 * 4 * 8  # bytes of what a step slices, multiplies and adds
    assert 4 * rows < found.bytes < 20 * rows < 4 * 200 * 8
    assert found.memory.arguments == 4 * (200 * 8 + 8 * 8)


def test_the_larger_count_of_operations_holds():
    compiled = jax.jit(jnp.matmul).lower(jnp.zeros((8, 16)), jnp.zeros((16, 4))).compile()
    assert costs.of_compiled(compiled, None).flops == 2 * 8 * 16 * 4
    assert costs.of_compiled(compiled, None, counted=1e6).flops == 1e6
    assert costs.of_compiled(compiled, None, counted=1.0).flops == 2 * 8 * 16 * 4


def test_bytes_inside_cudnns_calls_are_counted():
    """XLA's count leaves them out: on an H100 it had 1.5 GB for a forward pass of 38."""
    call = (
        "ENTRY %main (a: f32[8]) -> f32[8] {\n"
        "  %a = f32[8]{0} parameter(0)\n"
        '  ROOT %y = f32[8]{0} custom-call(%a), custom_call_target="TARGET"\n'
        "}\n"
    )

    def bytes_of(target):
        sizes = dict.fromkeys(
            [f"{name}_size_in_bytes" for name in ("argument", "output", "alias", "temp")], 0
        )
        memory = SimpleNamespace(**sizes, generated_code_size_in_bytes=0)
        compiled = SimpleNamespace(
            cost_analysis=lambda: {"bytes accessed": 1.0},
            as_text=lambda: call.replace("TARGET", target),
            memory_analysis=lambda: memory,
        )
        return costs.of_compiled(compiled, None).bytes

    assert bytes_of("__cudnn$convForward") == 64
    assert bytes_of("another") == 1


def test_a_compiled_product_costs_what_it_costs():
    compiled = jax.jit(jnp.matmul).lower(jnp.zeros((8, 16)), jnp.zeros((16, 4))).compile()
    found = costs.of_compiled(compiled, chips.Chip("slow", 1024.0, 1e9, 1e12))
    assert found.flops == 2 * 8 * 16 * 4
    assert found.bytes == 4 * (8 * 16 + 16 * 4 + 8 * 4)
    assert found.seconds == found.roofline_seconds == 1.0
    assert found.memory.arguments == 4 * (8 * 16 + 16 * 4)
    assert found.collectives == {} and found.model is None


@pytest.mark.parametrize("kind, name", [
    ("NVIDIA H100 80GB HBM3", "H100"),
    ("NVIDIA H100 NVL", "H100 NVL"),
    ("NVIDIA H200", "H200"),
    ("NVIDIA H20", "H20"),
    ("NVIDIA GH200 480GB", "GH200"),
    ("NVIDIA B200", "B200"),
    ("NVIDIA GB200", "GB200"),
    ("NVIDIA A100-SXM4-40GB", "A100"),
    ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
    ("NVIDIA A10", "A10"),
    ("NVIDIA A10G", "A10G"),
    ("NVIDIA L40", "L40"),
    ("NVIDIA L40S", "L40S"),
    ("NVIDIA L4", "L4"),
    ("NVIDIA GeForce RTX 4090", "RTX 4090"),
    ("Tesla V100-SXM2-16GB", "V100"),
])  # fmt: skip
def test_gpus_by_what_jax_calls_them(kind, name):
    chip = chips.of_platform(Platform("gpu", kind))
    assert chip and chip.name == name


def test_chips_without_peaks_and_tpus():
    assert chips.of_platform(Platform("tpu", "v6e")) == chips.TPUS["v6e"]
    assert chips.of_platform(Platform("cpu", "cpu")) is None
    for kind in ("GeForce GTX 1080", "RTX A1000", "GeForce RTX 4090 Laptop GPU", "A30 MIG 1g.6gb"):
        assert chips.of_platform(Platform("gpu", f"NVIDIA {kind}")) is None


ASYNCHRONOUS = """HloModule beside
%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%starting (p: f32[8]) -> (f32[8], u32[]) {
  %p = f32[8]{0} parameter(0)
  %r.1 = f32[8]{0} all-reduce(%p), channel_id=1, to_apply=%sum
  ROOT %c = (f32[8]{0}, u32[]) custom-call(%r.1), custom_call_target="Start"
}

%carrying (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %r.2 = f32[8]{0} all-reduce(%p), channel_id=1, to_apply=%sum
  ROOT %n = f32[8]{0} negate(%p)
}

%ending (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %r.3 = f32[8]{0} all-reduce(%p), channel_id=1, to_apply=%sum
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %async-collective-start.4 = (f32[8]{0}, u32[]) fusion(%a, %a), kind=kCustom, calls=%starting
  %f = f32[8]{0} fusion(%a), kind=kLoop, calls=%carrying, backend_config={"estimated_cycles":"150"}
  %async-collective-done.4 = f32[8]{0} fusion(%a, %f), kind=kCustom, calls=%ending
  ROOT %r.5 = f32[8]{0} all-reduce(%async-collective-done.4), channel_id=2, to_apply=%sum
}
"""


def test_a_collective_cut_into_fusions_is_one_and_runs_beside_them():
    program = computations(ASYNCHRONOUS)
    assert collectives(program) == {"all-reduce": Collective(2, 2 * 32, 1)}
    time = model_time(program, chips.TPUS["v5e"])
    assert time.costed == pytest.approx(150 / 1.5e9)
    # Charged as the other one is: what it reads and what it writes.
    assert time.charges["fusion"] == time.charges["all-reduce"]
    number, seconds = time.charges["fusion"]
    assert number == 1 and seconds == pytest.approx(64 / 0.819e12)
