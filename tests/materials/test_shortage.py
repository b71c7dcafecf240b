"""Too little memory: XLA's messages, the user's message, and resumption of the run."""

from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_config

import jaxft
from jaxft import run
from jaxft.cli import main
from jaxft.config import load
from jaxft.devices import platform
from jaxft.errors import UserError
from jaxft.materials import extraction, shortage
from jaxft.materials.shortage import Shortage
from jaxft.training import fit, resume
from jaxft.workdir import checkpoint, same_config
from jaxft.workdir.cursor import Cursor, PhaseCursor

GIB = 2**30
MIB = 2**20

# As XLA has written them; sources: jax-ml/jax issues 13428 and 788, kamadforge in
# google-deepmind/jax_privacy issue 10, google-deepmind/gemma issue 85, pytorch/xla issue 3470,
# EnzymeAD/Enzyme-JAX pull request 2422, google/flax issue 3376.
OF_DEVICES = {
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 6291456 bytes.\n"
    "BufferAssignment OOM Debugging.": Shortage(None, None, 6 * MIB),
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1.50GiB.": Shortage(
        None, None, 1.5 * GIB
    ),
    "RESOURCE_EXHAUSTED: Failed to allocate request for 176.00MiB (184549376B) on device ordinal "
    "0": Shortage(None, None, 176 * MIB),
    "RESOURCE_EXHAUSTED: Error allocating device buffer: Attempting to allocate 15.50G. That was "
    "not possible. There are 11.08G free.; (0x0x0_HBM0)": Shortage(None, None, 15.5 * GIB),
    "RESOURCE_EXHAUSTED: Attempting to reserve 6.50G at the bottom of memory. That was not "
    "possible. There are 6.78G free, 0B reserved, and 3.33G reservable.": Shortage(
        None, None, 6.5 * GIB
    ),
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: XLA:TPU compile permanent error. Ran out of "
    "memory in memory space hbm. Used 215.5G of 31.25G hbm. Exceeded hbm capacity by 184.25G.": (
        Shortage(215.5 * GIB, 31.25 * GIB, None)
    ),
    "INTERNAL: All algorithms tried failed. Profiling failure on cuDNN engine eng0{}: UNKNOWN: "
    "CUDNN_STATUS_ALLOC_FAILED": Shortage(None, None, None),
    "INTERNAL: CUBLAS_STATUS_ALLOC_FAILED": Shortage(None, None, None),
    # An H100 whose memory another process held: jaxlib 0.11.2.
    "RESOURCE_EXHAUSTED: : CUDA_ERROR_OUT_OF_MEMORY: out of memory "
    "[executable_name='jit_init_head']": Shortage(None, None, None),
    "NOT_FOUND: Failed to get configs for: 6 out of 36 instructions. See logs for all failures. "
    "EXECUTION FAILED: INTERNAL: [0] There was an error before calling cuModuleGetFunction (2): "
    "cudaErrorMemoryAllocation : out of memory": Shortage(None, None, None),
    "INTERNAL: failed to load PTX: CUDA_ERROR_OUT_OF_MEMORY: out of memory": Shortage(
        None, None, None
    ),
}
OF_SOMETHING_ELSE = (
    "INTERNAL: something else",
    "RESOURCE_EXHAUSTED: Received message larger than max (5243 vs. 4194)",
    "RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 20.00M of 16.00M vmem.",
    "RESOURCE_EXHAUSTED: Failed to allocate a 512-byte pinned host staging buffer",
)


@pytest.mark.parametrize("message", OF_DEVICES)
def test_every_platforms_words(message):
    assert shortage.of_message(message) == OF_DEVICES[message]


@pytest.mark.parametrize("message", OF_SOMETHING_ELSE)
def test_other_errors_are_no_shortage(message):
    assert shortage.of_message(message) is None


def test_the_words_of_the_jax_that_is_installed():
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jax.block_until_ready(jnp.zeros(2**46, jnp.uint8))
    assert shortage.of_message(str(caught.value)) == Shortage(None, None, 2.0**46)


# What a user is told.


def short(*_, **__):
    raise jax.errors.JaxRuntimeError(
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.\nMore"
    )


def settings_for(folder, **phase):
    config = tiny_config.get_config(folder)
    for key, value in phase.items():
        config.phases[2][key] = value
    return load.read(config)


def told_on(settings, chip, index=2):
    with (
        platform.targeting(*chip),
        pytest.raises(UserError) as caught,
        shortage.told(settings, "in phase full", settings.phases[index]),
    ):
        short()
    return str(caught.value)


def test_one_message_names_all_that_helps(tiny, drawn, monkeypatch):
    for name in ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    settings = settings_for(drawn, microbatches=2)
    text = told_on(settings, ("gpu", "NVIDIA H100 80GB HBM3"))
    assert "ran out of memory in phase full, on 8 gpu devices" in text
    assert "8.00 GiB were requested at once (XLA: RESOURCE_EXHAUSTED: Out of memory" in text
    assert "More" not in text  # XLA's message may have hundreds of lines
    assert "config.data.batch_size=8" in text and "a batch in 4 parts" in text
    assert "config.phases.full.microbatches=2" in text
    assert "XLA_CLIENT_MEM_FRACTION: JAX's pool is 75% of the GPU's memory" in text
    assert "jaxft plan" in text


def test_what_does_not_help_is_not_named(tiny, drawn):
    settings = settings_for(drawn)
    assert "MEM_FRACTION" not in told_on(settings, ("tpu", "v5e"))
    cached = told_on(settings, ("tpu", "v5e"), index=0)
    assert "microbatches" not in cached and "config.data.cache_memory_gb=-1" in cached


def test_the_hosts_memory_is_told_apart(tiny, drawn):
    with (
        pytest.raises(UserError, match="host ran out of memory before the first step") as caught,
        shortage.told(settings_for(drawn), "before the first step"),
    ):
        raise MemoryError("Unable to allocate 5.00 GiB for an array")
    text = str(caught.value)
    assert "5.00 GiB" in text and "config.data.memory_gb=-1" in text


def test_another_error_stays_what_it_is(tiny, drawn):
    with (
        pytest.raises(RuntimeError, match="something else"),
        shortage.told(settings_for(drawn), "in phase full"),
    ):
        raise RuntimeError("something else")


# Commands.


def test_predict_and_evaluate(finished, drawn, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(extraction, "extract", short)
    output = f"--output={tmp_path / 'p.csv'}"
    for command in (["predict", output, str(drawn)], ["evaluate", "--batch-size=16"]):
        assert main.main([*command, f"--workdir={finished}"]) == 2
        told = capsys.readouterr().err
        assert "ran out of memory in inference" in told and "bug" not in told
        assert f"--batch-size={16 if command[0] == 'evaluate' else 8}: fewer images" in told


def config_for(drawn, microbatches=1):
    """Two phases without a range test; 16 images a step, for two parts on 8 devices."""
    config = tiny_config.get_config(drawn)
    config.data.batch_size = 16
    head, full = config.phases[1:]
    head.lr, full.lr, head.cycles, full.cycles = 0.1, 0.05, 1, 1
    full.microbatches = microbatches
    config.phases = (head, full)
    return config


def test_a_run_that_has_no_room_for_its_first_weights(drawn, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "begin", short)
    with pytest.raises(UserError, match="device ran out of memory before the first step"):
        run.train(config_for(drawn), tmp_path / "run")


@pytest.mark.slow
def test_a_run_short_of_memory_goes_on_in_parts(drawn, tiny, tmp_path, monkeypatch):
    """It ends like a run whose config had the microbatches from the start."""
    make_runner = fit.make_runner
    with monkeypatch.context() as patch:
        patch.setattr(
            fit,
            "make_runner",
            lambda spec, *rest: short() if spec.phase.trains_body else make_runner(spec, *rest),
        )
        with pytest.raises(UserError, match="in phase full") as caught:
            run.train(config_for(drawn), tmp_path / "run")
    assert "With more microbatches in this phase the same command resumes" in str(caught.value)
    run.train(config_for(drawn, microbatches=2), tmp_path / "run")
    run.train(config_for(drawn, microbatches=2), tmp_path / "anew")
    run.train(config_for(drawn), tmp_path / "whole")
    resumed, anew, whole = (
        jaxft.restore(tmp_path / name).params for name in ("run", "anew", "whole")
    )
    jax.tree.map(np.testing.assert_array_equal, resumed, anew)
    differs = jax.tree.map(lambda a, b: not np.array_equal(a, b), resumed, whole)
    assert any(jax.tree.leaves(differs))  # or parts would be free at any time
    # Once its first step is made a phase stays as it is.
    with pytest.raises(UserError, match="BatchNorm") as caught:
        run.train(config_for(drawn, microbatches=1), tmp_path / "run")
    assert "phases[1].microbatches: 2 there, 1 now" in str(caught.value)


@pytest.mark.parametrize("phase, lr, begun", [(0, None, 0), (1, None, 1), (1, 0.1, 2)])
def test_a_phase_has_begun_with_its_rate(phase, lr, begun, monkeypatch):
    cursor = asdict(Cursor(phase_index=phase, phase=PhaseCursor(lr=lr)))
    monkeypatch.setattr(checkpoint, "newest_cursor", lambda _: cursor)
    assert same_config._phases_begun(Path("anywhere")) == begun


def test_of_a_damaged_run_every_phase_has_begun(monkeypatch):
    monkeypatch.setattr(checkpoint, "newest_cursor", lambda _: None)
    assert same_config._phases_begun(Path("anywhere")) > 1000
