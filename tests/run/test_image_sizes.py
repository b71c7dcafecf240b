"""Phases on images of different sizes: small ones first, larger ones later."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import tiny_config
from unfold import unfolded

from jaxft import run
from jaxft.config import load
from jaxft.costs import bench, bench_json, bench_text, plan_text, planning, programs
from jaxft.costs.costs import Costs
from jaxft.costs.sizes import Sizes
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.devices import sharding, topology
from jaxft.errors import Interrupted, UserError
from jaxft.evaluation.evaluate import evaluate
from jaxft.evaluation.metrics import Evaluation
from jaxft.evaluation.probabilities import materials_of
from jaxft.evaluation.restore import read_workdir
from jaxft.materials import opening, reading
from jaxft.materials.data import open_data
from jaxft.materials.start_up import start_up
from jaxft.runtime import digests
from jaxft.runtime.console import Console
from jaxft.runtime.lines import WIDTH
from jaxft.training import fit
from jaxft.training.loop import Loop, evaluate_weights
from jaxft.workdir import checkpoint
from jaxft.workdir.rows import read_rows

pytestmark = pytest.mark.usefixtures("tiny")

SMALL, LARGE = 32, 48


def growing(drawn):
    """The head on small images, then, until over-fitting, on larger ones."""
    config = tiny_config.get_config(drawn)
    head, _, full = config.phases
    full.update(image_size=LARGE, cycle_mult=1)
    full.groups.early = full.groups.late = 0.0  # which compiles in a third of the time
    head.lr = full.lr = 0.01
    config.best_by = "val_loss"
    config.phases = (head, full)
    return config


def cached_twice(drawn):
    """The same features of images of two sizes, which need few programs."""
    config = growing(drawn)
    again = config.phases[0].copy_and_resolve_references()
    again.update(name="again", image_size=LARGE)
    config.phases = (config.phases[0], again)
    return config


class Run(NamedTuple):
    """A finished run: its output, and the best of the first phase on images of the second."""

    workdir: Path
    told: str
    entry: Evaluation


@pytest.fixture(scope="module")
def grown(drawn, tmp_path_factory):
    import tiny_body

    from jaxft.models.registry import BODIES

    workdir, entries = tmp_path_factory.mktemp("grown") / "run", []
    told, run_phase = io.StringIO(), fit.run_phase

    def measured(materials, cursor, progress, *rest):
        if cursor.phase_index == 1:
            best = sharding.replicate(progress.best.weights, materials.mesh)
            entries.append(evaluate_weights(materials, best))
        return run_phase(materials, cursor, progress, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        patch.setattr(fit, "run_phase", measured)
        run.train(growing(drawn), workdir, Console(told))
    return Run(workdir, told.getvalue(), *entries)


def test_each_phase_has_its_size(drawn):
    settings = load.read(growing(drawn))
    assert [phase.image_size for phase in settings.phases] == [SMALL, LARGE]


def test_sizes_that_no_body_takes_are_refused(drawn):
    config = growing(drawn)
    config.phases[0].image_size, config.phases[1].image_size = 31, -1
    with pytest.raises(UserError) as found:
        load.read(config)
    assert [line.split(" ")[0] for line in found.value.offenders] == [
        f"config.phases.{phase.name}.image_size" for phase in config.phases
    ]


def test_the_summary_and_the_words_tell_the_sizes(grown):
    summary = json.loads((grown.workdir / "summary.json").read_text())
    assert [phase["image_size"] for phase in summary["phases"]] == [SMALL, LARGE]
    assert f"{LARGE} px, sgdr" in grown.told and f"{SMALL} px, constant" in grown.told
    assert grown.told.count(f"from here on, images are {LARGE} px") == 1


def test_lines_fit_a_terminal(grown):
    """A path that is longer has a line of its own."""
    assert "rotate_degrees" in grown.told and "trains (x rate)" in grown.told
    lines = [line for line in grown.told.splitlines() if len(line) > WIDTH]
    assert [line for line in lines if " " in line.strip()] == []


def test_the_best_of_smaller_images_is_measured_again_at_the_phases_own_size(grown):
    line = unfolded(grown.told).partition("the best so far")[2]
    assert f"a validation loss of {grown.entry.val_loss:.4f}" in line
    assert f"an accuracy of {grown.entry.accuracy:.4f} at {LARGE} px" in line
    small = read_rows(grown.workdir / "metrics.jsonl")[:2]
    assert all(abs(row["val_loss"] - grown.entry.val_loss) > 1e-4 for row in small)


def test_no_number_of_smaller_images_keeps_an_epoch_the_best(grown):
    _, _, first, second = read_rows(grown.workdir / "metrics.jsonl")
    ends = [grown.entry.val_loss, first["val_loss"], second["val_loss"]]
    summary = json.loads((grown.workdir / "summary.json").read_text())
    assert summary["val_loss"] == pytest.approx(min(ends), rel=1e-6)
    assert summary["best"]["image_size"] == LARGE


def test_what_follows_the_run_takes_the_last_size(grown):
    assert json.loads((grown.workdir / "preprocessing.json").read_text())["image_size"] == LARGE
    settings, _, expected = read_workdir(grown.workdir)
    assert materials_of(settings, open_data(settings), expected, Console(None)).image_size == LARGE


def test_evaluate_finds_what_the_run_found(grown):
    summary = json.loads((grown.workdir / "summary.json").read_text())
    found = evaluate(grown.workdir).scores
    assert found["loss"] == pytest.approx(summary["val_loss"], rel=1e-5)
    assert found["accuracy"] == summary["accuracy"]


@pytest.mark.slow
def test_going_on_reads_images_of_the_size_reached_alone(grown, drawn, tmp_path, monkeypatch):
    save, read, sizes = Loop.save, reading.read_images, []

    def save_and_ask(loop, *args):
        save(loop, *args)
        if loop.cursor.phase_index == 1 and loop.cursor.phase.epoch == 1:
            loop.materials.stop.ask()

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Loop, "save", save_and_ask)
        run.train(growing(drawn), tmp_path / "run")

    def noting(settings, size, *rest):
        sizes.append(size)
        return read(settings, size, *rest)

    monkeypatch.setattr(reading, "read_images", noting)
    run.train(growing(drawn), tmp_path / "run")
    assert sizes == [LARGE]
    ends = [checkpoint.read_newest(workdir).best for workdir in (tmp_path / "run", grown.workdir)]
    assert digests.digest(ends[0]) == digests.digest(ends[1])


def test_an_image_that_has_gone_bad_ends_the_run_even_where_bad_ones_are_skipped(drawn):
    config = growing(drawn)
    config.data.skip_bad = True
    materials, _ = opening.prepare(start_up(config)[0], Console(None))

    def fail(index, *_):
        raise UnreadableImage(f"image {index}", "gone")

    broken = replace(materials.dataset.train, read=fail)
    changed = materials.dataset.with_splits(broken, materials.dataset.valid)
    with pytest.raises(UserError, match=r"unreadable images:(.|\n)*the same command then resumes"):
        reading.at_size(materials._replace(dataset=changed), LARGE)


def test_images_of_another_size_leave_the_memory(drawn):
    materials, _ = opening.prepare(start_up(growing(drawn))[0], Console(None))
    assert materials.train_images.in_memory
    larger = reading.at_size(materials, LARGE)
    assert larger.train_images.in_memory and larger.valid_images.in_memory
    assert not materials.train_images.in_memory and not materials.valid_images.in_memory
    assert min(larger.train_images[0].shape[:2]) == 53
    assert reading.at_size(larger, LARGE) is larger


def test_steps_on_images_of_two_sizes_are_two_programs(drawn):
    small, large = load.read(growing(drawn)).phases
    both = [replace(large, image_size=size) for size in (SMALL, LARGE)]
    assert programs.distinct(both[0]) != programs.distinct(both[1])
    assert programs.distinct(small) == programs.distinct(replace(small, image_size=LARGE))


@pytest.mark.slow
def test_a_plan_has_a_program_for_every_size(drawn):
    settings = load.read(cached_twice(drawn))
    found = planning.make(settings, Sizes(24, 8, 3, "made up"), topology.here(), Console(None))
    forwards = [f"features {size} px" for size in (SMALL, LARGE)]
    assert [program.name for program in found.programs] == [*forwards, "head_cached"]
    small, large, _ = (program.costs for program in found.programs)
    assert isinstance(small, Costs) and isinstance(large, Costs)
    assert large.flops > 1.5 * small.flops
    assert all(name in plan_text.text(found) for name in forwards)
    assert all(len(name) <= 16 for name in forwards), "what a table's column holds"


@pytest.mark.slow
def test_a_bench_goes_through_every_size(drawn):
    settings = start_up(cached_twice(drawn))[0]
    job = bench.real(settings, topology.here(), 2, Console(None))
    rows = list(bench.make(job))
    assert [(row.program, row.image_size) for row in rows] == [
        (f"features {SMALL} px", SMALL),
        ("head_cached", SMALL),
        (f"features {LARGE} px", LARGE),
    ]
    assert rows[2].model_flops > 1.5 * rows[0].model_flops
    assert rows[1].phases == ("head_cached", "again")
    assert bench_json.as_json(job, rows[2], "tiny")["image_size"] == LARGE
    assert f"{SMALL}, {LARGE} px" in bench_text.block(job, rows, "tiny")
