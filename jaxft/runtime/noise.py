"""What libraries write to a terminal that is of no use to anyone there."""

import glob
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

# A TPU's surroundings, named where there is no TPU: libtpu, which JAX opens wherever it is
# installed, looks for them otherwise and complains. They say nothing of slices to compile for.
NO_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}


def has_tpu() -> bool:
    """Tell whether this machine has a TPU."""
    return bool(glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"))


def hush() -> None:
    """Silence TensorFlow's and XLA's notes, and complaints that an accelerator is not there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not glob.glob("/dev/nvidia*"):
        logging.getLogger("jax._src.xla_bridge").addFilter(_is_worth_telling)
    if not isinstance(sys.unraisablehook, _Worthwhile):
        sys.unraisablehook = _Worthwhile(sys.unraisablehook)
    if not has_tpu():
        for variable, value in NO_TPU.items():
            os.environ.setdefault(variable, value)


class _Worthwhile:
    """A hook for errors that no one can catch, without TensorStore's of event loops now closed.

    Its threads read the rest of a checkpoint when one part has failed already, and each prints a
    traceback when it is done. It is C++ that calls: there is no frame of Python above asyncio's.

    Args:
      shown: the hook for all others.
    """

    def __init__(self, shown: Callable[..., Any]) -> None:
        self._shown = shown

    def __call__(self, found: Any) -> None:
        trace = found.exc_traceback
        outermost = trace.tb_frame.f_code.co_name if trace else ""
        late = outermost == "call_soon_threadsafe"
        if not (late and str(found.exc_value) == "Event loop is closed"):
            self._shown(found)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Tell whether to show a record of JAX's on a machine without an NVIDIA GPU.

    JAX tries the CUDA plugin at every start, and logs a traceback where it finds no CUDA, which
    is no error where the plugin is there for `plan --topology=h100` alone.
    """
    text = record.getMessage()
    return not (text.startswith("Jax plugin configuration error") and "cuda" in text)
