"""Speed of programs: times, counts, and their report."""

import dataclasses
import itertools
import json
import os
import re
import types
from contextlib import contextmanager, nullcontext

import jax
import numpy as np
import pytest
import tiny
import tiny_config
from jax.sharding import Mesh
from places import SUPPORT
from tqdm import tqdm

from jaxft.cli import main
from jaxft.config import load
from jaxft.costs import bench, bench_json, bench_text, costs, flops, programs, timed
from jaxft.costs import figures as figures_of
from jaxft.costs.costs import Costs, Memory
from jaxft.costs.job import WARM_UP, Job, Program
from jaxft.costs.sizes import Sizes
from jaxft.devices import chips, platform, topology
from jaxft.errors import UserError
from jaxft.materials import opening
from jaxft.runtime.console import Console
from jaxft.training.phase_spec import make_spec

CHIP = chips.TPUS["v5e"]
TINY = str(SUPPORT / "tiny_config.py")


def one_device():
    return topology.here()._replace(mesh=Mesh(np.asarray(jax.devices()[:1]), ("data",)))


def job_on(shared, **changes):
    """A job on made-up input for what phases share."""
    weights, sizes = tiny.weights(shared.model), Sizes(40, 13, 3, "made up")
    settings, model = shared.settings, shared.model
    job = Job(
        settings,
        settings.phases[0].image_size,
        sizes,
        one_device(),
        model,
        weights,
        2,
        Console(None),
    )
    return dataclasses.replace(job, **changes)


@pytest.fixture(scope="module")
def benched(drawn):
    """A job on made-up input, and its figures against a chip whose peak is known."""
    import tiny_body

    from jaxft.models.registry import BODIES

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        settings = load.read(tiny_config.get_config(drawn))
        sizes = Sizes(24, 8, 3, "made up")
        target = one_device()._replace(device=CHIP)
        job = bench.synthetic(settings, sizes, target, 3, Console(None))
        yield job, list(bench.make(job))


def test_every_phase_and_the_extraction(benched):
    _, rows = benched
    assert [row.program for row in rows] == ["features", "head_cached", "head_augmented", "full"]
    assert [row.phases for row in rows[1:]] == [("head_cached",), ("head_augmented",), ("full",)]
    assert [row.steps for row in rows] == [1, 3, 1, 1]  # an epoch of 24 images, 8 a step


def test_a_step_that_trains_more_counts_more(benched):
    _, (features, cached, head, full) = benched
    for count in (lambda row: row.model_flops, lambda row: row.costs.flops):
        assert 0 < count(cached) < count(features) < count(head) < count(full)


def test_rates_quartiles_and_shares_follow_from_the_repeats():
    row = figures(seconds=(4.0, 1.0, 2.0, 3.0, 5.0), steps=2, images=8, model_flops=CHIP.peak_flops)
    assert row.step_seconds == (1.0, 1.5, 2.0)
    assert row.images_per_second == pytest.approx(8 / 1.5)
    assert row.mfu == pytest.approx(1 / 1.5)
    assert row.bytes_per_second == pytest.approx(1.2 * CHIP.hbm_bandwidth / 1.5)
    assert row.roofline_share == pytest.approx(1.2 / 1.5)  # bound by its memory
    busy = dataclasses.replace(row, model_flops=1.3 * CHIP.peak_flops)
    assert busy.roofline_share == busy.mfu == pytest.approx(1.3 / 1.5)  # bound by arithmetic
    blind = dataclasses.replace(row, chip=None)
    assert blind.mfu is None and blind.roofline_share is None


def figures(**changes):
    memory = Memory(0, 0, 0, 0, 0)
    plain = figures_of.Figures(
        program="full",
        phases=("full",),
        images=0,
        image_size=0,
        devices=1,
        steps=1,
        seconds=(1.0,),
        input_wait=None,
        compile_seconds=0.0,
        costs=Costs(0.0, 1.2 * CHIP.hbm_bandwidth, memory, {}, None, None),
        model_flops=0.0,
        peak_bytes=None,
        pool_bytes=None,
        chip=CHIP,
    )
    return dataclasses.replace(plain, **changes)


def test_json_holds_what_the_figures_mean_nothing_without(benched):
    job, rows = benched
    row = json.loads(json.dumps(bench_json.as_json(job, rows[3], "tiny_config")))
    assert row["program"] == "full" and row["phases"] == ["full"] and row["repeats"] == 3
    seconds = row["step_seconds"]
    assert 0 < seconds["quartile1"] <= seconds["median"] <= seconds["quartile3"]
    assert row["images_per_second"] == pytest.approx(8 / seconds["median"])
    assert row["images_per_second_per_device"] == row["images_per_second"]
    assert row["mfu"] == pytest.approx(row["model_flops"] / seconds["median"] / CHIP.peak_flops)
    assert row["bytes_per_second"] == pytest.approx(row["bytes"] / seconds["median"])
    assert 0 < row["mfu"] < row["roofline_share"]  # so small a network is bound by memory
    assert row["mfu_missing"] is None and row["input_wait"] is None
    assert row["environment"]["JAX_PLATFORMS"] == "cpu" and row["device_kind"] == "cpu"
    assert row["compile_seconds"] > 0 and row["memory"]["total"] > 0
    assert (row["batch_size"], row["image_size"], row["dtype"]) == (8, 32, "float32")
    assert row["jax"] == jax.__version__ and row["devices"] == row["processes"] == 1


@pytest.mark.slow
def test_an_epoch_is_compiled_once_and_a_step_has_its_share(monkeypatch):
    """The memory is that of the epoch, which lies on the device while a step runs."""
    net = tiny.model()
    spec = tiny.spec(net, tiny.phase(inputs="cached"), batch_size=4, examples=24)
    job, weights = job_on(tiny.materials(None)), programs.weight_shapes(net)
    compiled = []

    def call(steps):
        whole = programs.of_phase(spec, job.settings, weights, job.mesh, steps)
        compiled.append(whole)
        return whole

    program = Program(
        name="epoch",
        phases=("epoch",),
        phase=spec.phase,
        steps=6,
        reads=False,
        call=call,
        start=lambda _: lambda _: np.zeros(6),
        feed=lambda: nullcontext(itertools.repeat(None)),
        neutral=lambda mesh, share: programs.of_phase(
            dataclasses.replace(spec, batch_size=share), job.settings, weights, mesh
        ),
    )
    row = bench.measure(job, program)
    (whole,) = compiled
    traced = whole.trace()
    assert row.costs.flops == pytest.approx(flops.of_traced(traced) / 6)
    memory = costs.memory_of(traced.lower().compile().memory_analysis())
    assert row.costs.memory.arguments == memory.arguments > 24 * net.feature_size * 4
    alone = programs.of_phase(spec, job.settings, weights, job.mesh, 1).lower().compile()
    step = costs.of_compiled(alone, None)
    assert row.costs.bytes == pytest.approx(step.bytes, rel=0.25)
    assert row.step_seconds[1] == pytest.approx(np.median(row.seconds) / 6)


def test_without_a_peak_it_says_why(benched):
    job, rows = benched
    blind = dataclasses.replace(job, target=job.target._replace(device=None))
    rows = [dataclasses.replace(row, chip=None) for row in rows]
    assert bench_json.as_json(blind, rows[0], "x")["mfu"] is None
    assert "cpu" in bench_json.as_json(blind, rows[0], "x")["mfu_missing"]
    assert bench_text.table(blind, rows).count("no MFU or share of the roofline: ") == 1


# What a repeat is, on a clock of the test's own.


class Result:
    """Ready at a time of its own; waiting for it takes until then."""

    def __init__(self, clock, name, seconds):
        self.clock, self.name = clock, name
        clock.busy_until = self.ready = max(clock.now, clock.busy_until) + seconds

    def block_until_ready(self):
        self.clock.events.append(f"wait {self.name}")
        self.clock.now = max(self.clock.now, self.ready)


def clock_of(monkeypatch):
    clock = types.SimpleNamespace(now=0.0, busy_until=0.0, events=[])
    monkeypatch.setattr(
        bench, "time", types.SimpleNamespace(perf_counter=lambda: clock.now), raising=True
    )
    return clock


def test_a_repeat_is_the_time_from_one_result_to_the_next(monkeypatch):
    clock = clock_of(monkeypatch)
    slow = 100.0  # the first ones, which do not count

    def execute(number):
        clock.events.append(f"run {number}")
        return Result(clock, number, slow if number < WARM_UP else 2.0)

    times = bench.repeat(execute, iter(range(100)), 5, tqdm(disable=True))
    assert times.seconds == (2.0,) * 5
    assert times.waited == 0
    # One is always under way when another is waited for, and none is left running.
    assert clock.events[:5] == ["run 0", "run 1", "wait 0", "run 2", "wait 1"]
    assert clock.events[-1] == f"wait {WARM_UP + 5}"
    assert clock.now == clock.busy_until


def test_input_that_is_late_is_waited_for(monkeypatch):
    clock = clock_of(monkeypatch)

    def late():
        while True:
            clock.now += 3.0
            yield None

    def execute(_):
        return Result(clock, "", 1.0)

    times = bench.repeat(execute, late(), 4, tqdm(disable=True))
    assert times.seconds == (3.0,) * 4
    assert times.waited == pytest.approx(1.0)


# What counts as the model's arithmetic.


def test_the_flops_of_a_head_are_its_matrix_products():
    net = tiny.model(hidden=(512,), channels=(64, 256))
    spec = tiny.spec(net, tiny.phase(inputs="cached"), batch_size=32, examples=64)
    settings = tiny.materials(None).settings
    weights = programs.weight_shapes(net)
    found = bench.model_flops(
        lambda mesh, share: programs.of_phase(
            dataclasses.replace(spec, batch_size=share), settings, weights, mesh
        ),
        16,
    )
    wide, narrow = 2 * 16 * 512 * 512, 2 * 16 * 512 * 3
    # Forward and two gradients; but what goes into the head has a gradient too, for its BatchNorm.
    assert found == 3 * wide + 3 * narrow


def test_the_zeros_of_packed_kernels_do_not_count():
    net = tiny.model(channels=(128, 256), groups=8)
    spec = tiny.spec(net, tiny.phase(), batch_size=8)
    settings, weights = tiny.materials(None).settings, programs.weight_shapes(net)

    def call(mesh, share):
        return programs.of_phase(spec, settings, weights, mesh)

    with platform.targeting("tpu", "v4"):
        packed = flops.of_traced(call(one_device().mesh, 8).trace())
    with platform.targeting("gpu", ""):  # has kernels for groups of 16 channels
        native = flops.of_traced(call(one_device().mesh, 8).trace())
    assert packed > 3 * native
    assert bench.model_flops(call, 8) == native


def test_phases_with_one_program_share_its_figures(tmp_path):
    materials = tiny.materials(
        tmp_path, phases=(tiny.phase(name="one"), tiny.phase(name="two", lr=0.5))
    )
    job = job_on(materials)
    timed = []

    def measure(_, program):
        timed.append(program)
        return program

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "measure", measure)
        rows = list(bench.make(job))
    assert rows == timed
    assert [one.name for one in timed] == ["features", "one"]
    assert timed[1].phases == ("one", "two")


def test_where_the_compiler_counts_nothing_the_figures_are_there_all_the_same(monkeypatch):
    """As on any GPU and TPU: JAX's `cost_analysis` is None there, of what is lowered at least."""
    net = tiny.model(channels=(128, 256), groups=64)
    spec = tiny.spec(net, tiny.phase(), batch_size=8)
    settings, weights = tiny.materials(None).settings, programs.weight_shapes(net)

    def neutral(mesh, share):
        return programs.of_phase(spec, settings, weights, mesh)

    for stage in (jax.stages.Lowered, jax.stages.Compiled):
        monkeypatch.setattr(stage, "cost_analysis", lambda self: None)
    traced = neutral(one_device().mesh, 8).trace()
    counted, found = flops.of_traced(traced), bench.model_flops(neutral, 8)
    spent = costs.of_compiled(traced.lower().compile(), CHIP, 1, counted)
    assert spent.flops == counted >= found > 0
    assert spent.bytes > 0
    row = figures(seconds=(1.0,), steps=1, images=8, model_flops=found, costs=spent)
    assert row.mfu == pytest.approx(found / CHIP.peak_flops)
    assert row.roofline_share == pytest.approx(spent.roofline_seconds)


def test_a_shortage_of_memory_names_the_program_and_what_takes_less(monkeypatch):
    job = job_on(tiny.materials(None))

    def short(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 2147483648")

    monkeypatch.setattr(bench, "measure", short)
    with pytest.raises(UserError, match="ran out of memory in the step of features") as caught:
        list(bench.make(job))
    assert "2.00 GiB" in str(caught.value) and "config.data.batch_size=8" in str(caught.value)

    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(bench, "measure", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        list(bench.make(job))


# The run's own input.


def test_real_input_is_what_the_run_reads(tmp_path):
    materials = tiny.materials(tmp_path, phases=(tiny.phase(),))
    job = job_on(materials, materials=materials)
    spec = make_spec(materials, 0)
    step_program, forward = timed.of_phases(job, [0]), timed.forward(job)
    with step_program.feed() as feed:
        seen = [batch.label.tolist() for (batch,) in feed]
    expected = tiny.shuffled(spec, tiny.canvases(40 + 13), len(seen), materials.mesh)
    assert seen == [batch.label.tolist() for batch in expected]
    assert len(seen) == WARM_UP + job.repeats + 1
    with forward.feed() as feed:  # 5 batches, then from the first one again
        canvases = [next(feed) for _ in range(6)]
    assert np.array_equal(canvases[5], canvases[0])
    assert not np.array_equal(canvases[1], canvases[0])


@contextmanager
def compilation_cache_kept():
    """The command turns the cache off for its process, which here is the tests'."""
    before = jax.config.values["jax_enable_compilation_cache"]
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


@pytest.mark.slow
def test_the_command_on_real_input(tiny, drawn, tmp_path, capsys):
    only_head = "--config.phases[0].epochs=1"
    arguments = ["--input=real", "--repeats=2", f"--json={tmp_path / 'figures.jsonl'}"]
    with compilation_cache_kept():
        code = main.main(["bench", f"--config={TINY}:{drawn}", only_head, *arguments])
        assert not jax.config.values[
            "jax_enable_compilation_cache"
        ]  # or its time would not be compilation's
    out = capsys.readouterr().out
    assert code == 0
    block = re.search(r"\n```text\n(.*)\n```\n\Z", out, re.DOTALL)
    assert block, out
    assert f"--config={TINY}:{drawn} {only_head} --input=real" in block[1]
    assert f"jax {jax.__version__}" in block[1] and "8 cpu (cpu), 1 process" in block[1]
    assert f"XLA_FLAGS={os.environ['XLA_FLAGS']}" in block[1]
    assert "compiled programs were kept" not in block[1]
    rows = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    assert [row["program"] for row in rows] == ["features", "head_cached", "head_augmented", "full"]
    waits = [row["input_wait"] for row in rows]
    assert waits.pop(1) is None and all(0 <= wait <= 1 for wait in waits)
    assert all(row["input"] == "real" and row["devices"] == 8 for row in rows)
    for row in rows:
        each = row["images_per_second_per_device"]
        assert each == pytest.approx(row["images_per_second"] / 8)
        assert row["program"] in block[1]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("words, kept", [((), False), (("--keep-cache",), True)])
def test_compiled_programs_are_kept_where_that_is_asked_for(words, kept, drawn, monkeypatch):
    materials = tiny.materials(None)
    monkeypatch.setattr(bench, "synthetic", lambda *_: job_on(materials))
    monkeypatch.setattr(bench, "make", lambda _: iter(()))
    jax.config.update("jax_enable_compilation_cache", True)
    with compilation_cache_kept():
        assert main.main(["bench", f"--config={TINY}:{drawn}", *words]) == 0
        assert jax.config.values["jax_enable_compilation_cache"] == kept


def test_the_block_says_that_programs_were_kept(monkeypatch):
    job = job_on(tiny.materials(None))
    row = figures(
        program="full",
        seconds=(1.0,),
        steps=1,
        images=8,
        devices=1,
        model_flops=CHIP.peak_flops / 4,
        compile_seconds=1.0,
        peak_bytes=3 * 2**30,
        pool_bytes=59 * 2**30,
    )
    job = dataclasses.replace(job, target=job.target._replace(device=CHIP))
    words = bench_text.block(job, [row], "tiny")
    kept = jax.config.values["jax_enable_compilation_cache"]
    assert ("compiled programs were kept" in words) == kept
    assert "3.00 GiB of 59.00 that JAX may use" in words
    line = words.splitlines()[-3]
    assert line.split()[-4:] == ["25.0%", "983", "982.8", "120.0%"]  # MFU, GB, GB/s, roofline


def test_sizes_are_not_for_real_input(drawn, tiny, capsys, monkeypatch):
    monkeypatch.setattr(opening, "prepare", None)
    flags = ["--input=real", "--examples=8"]
    assert main.main(["bench", f"--config={TINY}:{drawn}", *flags]) == 2
    assert "--input=synthetic" in capsys.readouterr().err


def test_a_batch_larger_than_the_data_is_refused(drawn, tiny, capsys):
    assert main.main(["bench", f"--config={TINY}:{drawn}", "--examples=4", "--classes=3"]) == 2
    assert "more than the 4 training images" in capsys.readouterr().err
