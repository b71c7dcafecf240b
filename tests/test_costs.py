"""Costs read out of compiled programs."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jaxft import chips, costs
from jaxft.models.platform import Platform

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
    assert costs.shape_bytes("(f32[8,128]{1,0:T(8,128)}, bf16[3], pred[5], s32[])") == 4096 + 6 + 9
    assert costs.shape_bytes("u4[3]") == 2


def test_collectives_by_kind_and_bytes():
    assert costs.collectives(costs.computations(HLO)) == {
        "all-reduce": costs.Collective(1, 32 + 16)
    }


def test_what_the_compiler_has_no_estimate_for_is_charged_at_its_roofline():
    time = costs.model_time(costs.computations(HLO), chips.TPUS["v5e"])
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
    program = costs.computations(LOOP.replace("TRIPS", known))
    assert costs.collectives(program) == {"all-reduce": costs.Collective(trips, trips * 32)}
    time = costs.model_time(program, chips.TPUS["v5e"])
    assert time.costed == pytest.approx(trips * 100 / 1.5e9)
    assert time.charges == {"all-reduce": (trips, pytest.approx(trips * 64 / 0.819e12))}


def test_a_compiled_loop_is_read_so():
    def loop(x):
        return lax.scan(lambda c, _: (lax.psum(jnp.sin(c), "data"), None), x, length=3)[0]

    auto = (AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2], axis_types=auto)
    spec = PartitionSpec("data")
    mapped = jax.shard_map(loop, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    found = costs.of_compiled(jax.jit(mapped).lower(jnp.zeros(8)).compile(), None, passes=3)
    assert found.collectives == {"all-reduce": costs.Collective(3, 3 * 16)}


def test_bytes_are_those_of_operands_and_results():
    program = costs.computations(HLO)
    assert costs.touched(program) == 2 * 32 + 2 * (32 + 16) + 3 * 32 + 2 * 32
    assert costs.touched(costs.computations(LOOP.replace("TRIPS", ""))) == 5 * (64 + 64)


def test_a_compiled_product_costs_what_it_costs():
    compiled = jax.jit(jnp.matmul).lower(jnp.zeros((8, 16)), jnp.zeros((16, 4))).compile()
    found = costs.of_compiled(compiled, chips.Chip("slow", 1024.0, 1e9, 1e12))
    assert found.flops == 2 * 8 * 16 * 4
    assert found.bytes == 4 * (8 * 16 + 16 * 4 + 8 * 4)
    assert found.seconds == found.roofline_seconds == 1.0
    assert found.memory.arguments == 4 * (8 * 16 + 16 * 4)
    assert found.collectives == {} and found.model is None


def test_chips_by_what_jax_calls_them():
    assert chips.of_platform(Platform("gpu", "NVIDIA H100 80GB HBM3")).peak_flops == 989e12
    assert chips.of_platform(Platform("tpu", "v6e")).name == "v6e"
    assert chips.of_platform(Platform("cpu", "cpu")) is None


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
    program = costs.computations(ASYNCHRONOUS)
    assert costs.collectives(program) == {"all-reduce": costs.Collective(2, 2 * 32, 1)}
    time = costs.model_time(program, chips.TPUS["v5e"])
    assert time.costed == pytest.approx(150 / 1.5e9)
    # Charged as the other one is: what it reads and what it writes.
    assert time.charges["fusion"] == time.charges["all-reduce"]
    assert time.charges["fusion"] == (1, pytest.approx(64 / 0.819e12))
