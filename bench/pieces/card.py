"""`jaxft bench` of the furniture card: the programs of a whole recipe, as it reports them."""

from dataclasses import replace
from typing import Any

from pieces import network
from pieces.report import Report
from pieces.setting import Setting

EXAMPLES = 16_384


def bench(setting: Setting, report: Report) -> None:
    """Every program of the card on random images and weights; compiled ones are kept."""
    from jaxft.cli.config_file import load_config
    from jaxft.costs import bench, bench_json
    from jaxft.costs.assumptions import sizes_of
    from jaxft.devices import topology
    from jaxft.materials.start_up import start_up
    from jaxft.runtime.console import Console

    network.start(report)
    words = overrides(setting)
    settings, _ = start_up(load_config("furniture_resnext101", words))
    examples = EXAMPLES
    if setting.tiny:  # two of the three programs of phases are much the same
        settings, examples = replace(settings, phases=settings.phases[::2]), 3 * setting.batch
    sizes = sizes_of(settings, examples, setting.classes)
    console = Console(None)
    job = bench.synthetic(settings, sizes, topology.here(), setting.rounds, console)
    with report.guard("bench"):
        for figures in bench.make(job):
            found = bench_json.as_json(job, figures, " ".join(words))
            seconds = {name: 1e3 * value for name, value in found.pop("step_seconds").items()}
            ms = {**seconds, "n": found.pop("repeats"), "calls": found.pop("steps_in_a_repeat")}
            report.line(found.pop("program"), ms=ms, **rates(found, ms["median"]), **without(found))


def overrides(setting: Setting) -> list[str]:
    """Overrides of the card for a single device and no network."""
    keys: dict[str, Any] = {
        "model.name": setting.model,
        "model.weights": "none",
        "data.batch_size": setting.batch,
        "data.image_size": setting.image_size,
    }
    if setting.tiny:
        keys |= {"augment.preset": "none"}
    return [f"--config.{key}={value}" for key, value in keys.items()]


def rates(found: dict[str, Any], step_ms: float) -> dict[str, float | None]:
    """Work and rates of a step, in the units of other lines; bytes as the compiled program has."""
    work = {"gflop": found.get("model_flops"), "touched_gb": found.get("bytes")}
    giga = {name: value and value / 1e9 for name, value in work.items()}
    gflop, touched = giga.values()
    return {
        **giga,
        "tflop_per_second": gflop and gflop / step_ms,
        "gb_per_second": touched and touched / step_ms * 1e3,
    }


def without(found: dict[str, Any]) -> dict[str, Any]:
    """Drop what is in every line anyway."""
    return {key: value for key, value in found.items() if key not in ("device", "revision")}
