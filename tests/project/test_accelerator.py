"""bench/accelerator.py: every piece runs, tiny, and a failure affects no other piece."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from places import BENCH

import accelerator
from pieces import child, gauge, kernels, lines, table
from pieces.catalogue import PIECES, Part
from pieces.clock import Timing
from pieces.layers import Layer
from pieces.report import Report
from pieces.setting import CUT, Setting

# `what` of a line that must be there, by piece.
EXPECTED = {
    "ceilings": {"copy", "matmul"},
    "smoke": {"convolution", "smoke"},
    "bench": {"features", "head_cached", "full"},
    "peer": set(),
    "trace": {"kernels", "step"},
    "grouped": {"convolution"},
    "pointwise": {"convolution"},
    "pool": {"pool"},
    "ideas": {"train"},
    "fused": {"features", "error"},
    "parity": {"logits"},
    "quickstart": {"train", "resume"},
    "head": {"epoch"},
    "lite": {"forward", "train"},
    "input": {"batch"},
    "flags": {"train"},
}


def run(*flags: str, seconds: float = 900) -> "subprocess.CompletedProcess[str]":
    """The script, tiny, on one CPU device; its interpreter has no torch."""
    command = [sys.executable, str(BENCH / "accelerator.py"), "--tiny", *flags]
    env = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(["/nowhere"])}
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=env)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The file of lines of a call that ran every piece."""
    out = tmp_path_factory.mktemp("accelerator") / "lines.jsonl"
    done = run(f"--out={out}", f"--peer-python={without_torch(out.parent)}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout == out.read_text()
    return out


def without_torch(folder: Path) -> Path:
    """This interpreter, in which torch cannot be imported even where it is installed."""
    hidden = folder / "hidden"
    (hidden / "torch").mkdir(parents=True)
    (hidden / "torch" / "__init__.py").write_text("raise ImportError('hidden')")
    script = folder / "python"
    path = f'PYTHONPATH="{hidden}:$PYTHONPATH"'
    script.write_text(f'#!/bin/sh\n{path} exec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return script


def finite(value) -> bool:
    """No number in JSON data is infinite or none."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or abs(value) < float("inf")


@pytest.mark.slow
def test_every_piece_runs_and_every_line_is_valid(measured):
    found = [json.loads(text) for text in measured.read_text().splitlines()]
    for line in found:
        assert finite(line)
        assert {"piece", "side", "what", "xla_flags", "revision"} <= line.keys()
        if "ms" in line:
            assert {"device", "versions"} <= line.keys()
            ms = line["ms"]
            assert 0 < ms["quartile1"] <= ms["median"] <= ms["quartile3"]
            assert ms["n"] >= 1
    assert EXPECTED.keys() == PIECES.keys()
    for piece, whats in EXPECTED.items():
        here = [line for line in found if line["piece"] == piece]
        assert whats <= {line["what"] for line in here if "skipped" not in line}, piece
        skipped = {line["side"] for line in here if line.get("skipped") == "no torch"}
        assert skipped == {part.side for part in PIECES[piece] if part.torch}
        ended = {line["side"] for line in here if line["what"] == lines.DONE}
        assert ended == {part.side for part in PIECES[piece] if not part.flags}
    resumed = next(line for line in found if line["what"] == "resume")
    assert resumed["same_best_weights"] is True
    stopped = next(line for line in found if line.get("lowering") == "stopped")
    assert (stopped["codes"], stopped["starts"]) == ([75], 2)


@pytest.mark.slow
def test_what_is_done_is_not_run_again_and_the_table_shows_it(measured):
    again = run(f"--done={measured}", seconds=30)
    assert (again.returncode, again.stdout) == (0, "")
    shown = run(f"--table={measured}", seconds=30).stdout
    assert [f"## {piece}" in shown for piece in EXPECTED] == [bool(w) for w in EXPECTED.values()]
    assert "no torch" in shown
    assert "| all 3x3 | dk |" in shown


# --- what the parent does, with pieces that are nothing but trouble -----------------------------

TROUBLE = """
import os, sys, time

def good(setting, report):
    print("not a line")
    report.line("good")

def crash(setting, report):
    report.line("before")
    os.abort()

def hang(setting, report):
    report.line("before")
    import subprocess
    subprocess.Popen(["sleep", "617.25"])
    time.sleep(600)

def silent(setting, report):
    print("not a line")

def unsupported(setting, report):
    with report.guard("convolution", shape="56 px"):
        raise NotImplementedError("no plan for this convolution")
    report.line("after")
"""
TROUBLES = {
    "hang": (Part("jax", "trouble:hang", 1, 1),),
    "crash": (Part("jax", "trouble:crash", 1, 20),),
    "unsupported": (Part("jax", "trouble:unsupported", 1, 20),),
    "silent": (Part("jax", "trouble:silent", 1, 20),),
    "good": (Part("jax", "trouble:good", 1, 20),),
}


class Trouble:
    """A copy of the script whose pieces fail; called with flags, gives the lines of its file."""

    def __init__(self, folder: Path) -> None:
        self.door, self.out = folder / "bench" / "accelerator.py", folder / "lines.jsonl"
        (folder / "bench" / "pieces").mkdir(parents=True)
        doors = BENCH / self.door.name, BENCH / "side_by_side.py"
        for source in (*doors, *BENCH.glob("pieces/*.py")):
            (self.door.parent / source.relative_to(BENCH)).write_text(source.read_text())
        (folder / "bench" / "pieces" / "trouble.py").write_text(TROUBLE)
        catalogue = folder / "bench" / "pieces" / "catalogue.py"
        parts = ", ".join(f"{name!r}: ({part[0]!r},)" for name, part in TROUBLES.items())
        catalogue.write_text(catalogue.read_text() + f"\nPIECES = {{{parts}}}\n")

    def __call__(self, *flags: str) -> list[dict[str, Any]]:
        command = [sys.executable, str(self.door), "--tiny", f"--out={self.out}", *flags]
        subprocess.run(command, capture_output=True, timeout=60)
        found: list[dict[str, Any]] = lines.read(str(self.out))
        return found


@pytest.fixture
def trouble(tmp_path):
    return Trouble(tmp_path)


def test_a_crash_a_hang_and_an_unsupported_convolution_cost_a_line_each(trouble):
    started = time.monotonic()
    found = trouble()
    assert time.monotonic() - started < 20
    errors = {line["piece"]: line["error"] for line in found if "error" in line}
    assert set(errors) == {"hang", "crash", "unsupported", "silent"}
    assert errors["silent"] == "ended without a line: not a line"
    assert errors["hang"].startswith("killed after 1 s")
    assert errors["crash"].startswith("ended with -6")
    assert errors["unsupported"] == "NotImplementedError: no plan for this convolution"
    told = [(line["piece"], line["what"]) for line in found]
    for line in (("hang", "before"), ("crash", "before"), ("unsupported", "after")):
        assert line in told
    assert ("good", "good") in told
    assert lines.done(found) == {("good", "jax")}
    assert not list_sleepers()


def list_sleepers() -> str:
    """Processes `sleep 617.25` that a killed piece has left."""
    return subprocess.run(["pgrep", "-f", "^sleep 617.25$"], capture_output=True, text=True).stdout


def test_only_what_did_not_end_well_runs_again(trouble):
    first = trouble("--pieces=good,unsupported")
    both = trouble("--pieces=good,unsupported", f"--done={trouble.out}")
    assert {line["piece"] for line in both[len(first) :]} == {"unsupported"}


def test_what_does_not_fit_into_the_budget_is_skipped_and_says_so(trouble):
    found = trouble("--budget=0.5")
    assert sorted(line["piece"] for line in found) == sorted(TROUBLES)
    assert all("are left of the budget" in line["skipped"] for line in found)
    assert not lines.done(found)


def test_an_unknown_piece_is_an_error_that_names_all_of_them(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["accelerator.py", "--pieces=grouped,nonsense,bogus"])
    with pytest.raises(SystemExit):
        accelerator.read_options()
    told = capsys.readouterr().err
    assert "no pieces nonsense, bogus" in told
    assert "ceilings" in told


# --- lines, shares, tables ----------------------------------------------------------------------


def line(piece: str, what: str, **fields) -> dict[str, Any]:
    return {"piece": piece, "side": "jax", "what": what, "device": "H100", **fields}


def test_shares_are_of_the_higher_ceiling_of_the_same_device():
    ceilings = [
        line("ceilings", "copy", ms={}, gb_per_second=3000.0),
        line("ceilings", "copy", ms={}, gb_per_second=2000.0) | {"side": "torch"},
        line("ceilings", "copy", ms={}, gb_per_second=9000.0, device="H200"),
        line("ceilings", "matmul", ms={}, tflop_per_second=800.0, gb_per_second=7.0),
    ]
    shown = line("grouped", "convolution", gb_per_second=1500.0, tflop_per_second=200.0)
    shares = lines.with_shares(shown, lines.ceilings(ceilings))
    assert (shares["share_of_copy"], shares["share_of_matmul"]) == (0.5, 0.25)
    elsewhere = lines.with_shares({**shown, "device": "v5e"}, lines.ceilings(ceilings))
    assert "share_of_copy" not in elsewhere


def test_a_line_holds_no_number_that_json_cannot():
    written: list[str] = []
    report = Report(written.append)
    nan, far = float("nan"), float("inf")
    report.line("it", ratio=nan, inside={"far": far, "near": 1.0}, gains=[nan, 2.0], none=None)
    report.figure("it", Timing((2.0, 4.0), 1), flop=3e9, moved=6e9, images=30)
    first, second = map(json.loads, written)
    assert first == {"what": "it", "inside": {"far": None, "near": 1.0}, "gains": [None, 2.0]}
    assert second["ms"]["median"] == 3.0
    rates = ("tflop_per_second", "gb_per_second", "images_per_second")
    assert [second[rate] for rate in rates] == [1.0, 2000.0, 10000.0]


def test_a_line_cut_short_does_not_hide_the_others(tmp_path):
    file = tmp_path / "lines.jsonl"
    file.write_text('{"piece": "a", "what": "x"}\n{"piece": "b", "wh')
    assert [found["piece"] for found in lines.read(str(file), "", "missing.jsonl")] == ["a"]


def test_the_table_sums_layers_by_how_often_the_network_has_them():
    found = [
        line("grouped", "convolution", ms={"median": ms}, shape=shape, count=count)
        | {"lowering": lowering, "direction": "y"}
        for shape, count, lowering, ms in (
            ("14 px, 1024, 3x3/1", 22, "native", 2.0),
            ("14 px, 1024, 3x3/1", 22, "packed:32", 1.0),
            ("28 px, 512, 3x3/1", 3, "native", 1.0),
        )
    ]
    shown = table.render(found)
    assert "| all 3x3 | y | 47 |  |  |  |" in shown
    assert "| 14 px, 1024, 3x3/1 | y | 2 | 1 | packed:32 |  |" in shown


def test_work_is_counted_as_written():
    layer = Layer(14, 1024, 1024, 3, 1, 64)
    assert layer.flop(2) == 2 * 2 * 14 * 14 * 9 * 16 * 1024
    assert layer.moved(2) == 2 * (2 * 2 * 14 * 14 * 1024 + 9 * 16 * 1024)
    assert Layer(112, 64, 64, 3, 2, 1).out_pixels == 56


def test_kernels_are_told_apart_by_hlo_and_by_name():
    call = 'custom-call(a, b), window={size=%s}, feature_group_count=%d, custom_call_target="%s"'
    told = {
        ("3x3", 64, "__cudnn$convBackwardFilter"): "convolution wgrad grouped",
        ("1x1", 1, "__cudnn$convBackwardInput"): "convolution dgrad 1x1",
        ("7x7", 1, "__cudnn$convBiasActivationForward"): "convolution forward 7x7",
        ("1x1", 1, "__cublas$gemm"): "matrix products",
    }
    for (size, groups, target), kind in told.items():
        text = call % (size, groups, target)
        assert kernels.by_operation("custom-call.1", "custom-call", text) == kind
    back = (call % ("3x3", 32, "__cudnn$convForward")) + 'op_name="jit(step)/transpose(jvp(Early))"'
    kind = kernels.by_operation("cudnn-conv.2", "custom-call", back)
    assert kind == "convolution dgrad grouped"  # XLA writes it so where the stride is 1
    names = {
        "sm90_xmma_dgrad_implicit_gemm_bf16": "convolution dgrad",
        "cutlass_80_tensorop_bf16_s16816gemm": "matrix products",
        "input_reduce_fusion_12": "reductions",
        "loop_add_fusion": "loops",
        "wrapped_transpose": "transposes and copies",
    }
    assert {name: kernels.by_name(name) for name in names} == names


def test_the_gauge_reads_what_nvidia_smi_says(tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho '1980, 512.34, 41'\nsleep 5\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    watching = gauge.Gauge()
    deadline = time.monotonic() + 5
    while watching.now is None and time.monotonic() < deadline:
        time.sleep(0.01)
    watching.close()
    assert watching.now == {"sm_mhz": 1980.0, "watts": 512.34, "celsius": 41.0}
    assert gauge.reading("[N/A], [N/A], [N/A]") is None


def test_what_the_compiler_tried_is_taken_again_unless_the_part_failed(tmp_path):
    setting = Setting(False, str(tmp_path))
    place = child.Place("grouped", Part("jax", "a:b", 1, 1), "python", tmp_path / "log")
    file = tmp_path / "autotune" / "grouped.jax.txt"
    assert "load" not in child.autotune_flags(file)
    file.with_suffix(".new.txt").write_text("tried")
    child.keep_autotune(place, setting, failed=False)
    assert file.read_text() == "tried"
    assert f"load_autotune_results_from={file}" in child.autotune_flags(file)
    child.keep_autotune(place, setting, failed=True)
    assert not file.exists()


def test_a_trace_is_told_by_kinds_of_kernels_with_bytes_and_gaps():
    from jaxft.costs.hlo import computations
    from pieces import trace

    program = computations(
        "ENTRY main {\n"
        "  %a = bf16[100,10]{1,0} parameter(0)\n"
        "  %loop_add_fusion.1 = bf16[100,10]{1,0} fusion(%a), kind=kLoop, calls=%b\n"
        "}\n"
    )
    events = [
        trace.Event("loop_add_fusion_1", "command_buffer_7", 0.0, 2e6),
        trace.Event("sm90_xmma_wgrad_implicit_gemm", "", 1e6, 4e6),
        trace.Event("loop_add_fusion_1", "loop_add_fusion.1", 9e6, 1e6),
    ]
    written: list[str] = []
    trace.tell(Report(written.append), events, program)
    found = {told.get("kind", "step"): told for told in map(json.loads, written)}
    assert found.keys() == {"convolution wgrad", "loops", "step"}
    loops, step = found["loops"], found["step"]
    assert (loops["ms"]["median"], loops["kernels"], loops["gb"]) == (3.0, 2, 8e-6)
    assert step["ms"]["median"] == 10.0
    assert step["gaps_share"] == 0.4  # from 5 to 9 of 10 ms
    assert step["longest_ms"] == {"sm90_xmma_wgrad_implicit_gemm": 4.0, "loop_add_fusion_1": 3.0}


@pytest.mark.slow
def test_all_ways_of_a_heads_epoch_train_alike():
    from pieces import head
    from pieces.heads import Head

    small = Head(16, 2, 2560, 8, 3, "efficientnet_lite0")
    scan = head.epochs(small)
    first, second = np.asarray(scan()), np.asarray(scan())
    np.testing.assert_allclose(head.unrolled(small)(), second, rtol=1e-4)  # the first is traced
    abreast = np.asarray(head.abreast(small)())
    assert abreast.shape == (head.SIDE_BY_SIDE, small.steps)
    np.testing.assert_allclose(abreast[0], first, rtol=1e-4)
    assert len({tuple(row) for row in abreast}) == head.SIDE_BY_SIDE  # seeds of their own


@pytest.mark.slow
def test_every_idea_changes_the_program_that_a_gpu_would_run(tmp_path, monkeypatch):
    from jax.sharding import Mesh

    from jaxft.augment.presets import PRESETS
    from jaxft.config import load
    from jaxft.configs import base
    from jaxft.costs import programs
    from jaxft.devices import platform, sharding
    from jaxft.models.registry import BODIES, create
    from jaxft.recipe import optim
    from jaxft.training.spec import StepSpec
    from pieces import ideas, network

    monkeypatch.setitem(BODIES, CUT, network.cut)
    config = base.get_config()
    config.phases = (base.phase(groups=ideas.ALL_GROUPS, lr=0.01),)
    settings = load.read(config)
    (phase,) = settings.phases
    mesh = Mesh(np.asarray(jax.local_devices()[:1]), (sharding.AXIS,))

    def text(lowering: str, change) -> str:
        with platform.targeting("gpu", ""), change():
            model = create(CUT, 5, hidden=(), pooling="avg", conv=lowering)
            optimizer = optim.transformation(phase.groups, settings.optimizer)
            views = PRESETS["none"]
            spec = StepSpec(model, phase, 0, optimizer, views, 32, 4, 40)
            shapes = programs.weight_shapes(model)
            lowered: str = programs.of_phase(spec, settings, shapes, mesh).lower().as_text()
            return lowered

    setting = Setting(False, str(tmp_path), conv="packed:32,dense")
    unchanged = text("auto", nullcontext)
    changed = {name: text(lowering, change) for name, lowering, change in ideas.changes(setting)}
    assert len(changed) >= 8
    assert [name for name, program in changed.items() if program == unchanged] == []
    assert len(set(changed.values())) == len(changed)
