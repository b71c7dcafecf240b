"""A part in a process of its own: started, listened to, and killed at its limit."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple

from pieces import setting as settings
from pieces.catalogue import Part
from pieces.lines import Line
from pieces.setting import Setting

ROOT = Path(__file__).parents[2]
COMPILE_SOON = "--xla_backend_optimization_level=0"
TAIL = 600  # characters of what a child that failed said last


class Place(NamedTuple):
    """A part by name, the interpreter that runs it, and where it says what it does."""

    piece: str
    part: Part
    python: str
    log: Path

    @property
    def name(self) -> str:
        """For command lines and files."""
        return f"{self.piece}.{self.part.side}"


def run(
    place: Place,
    setting: Setting,
    env: Mapping[str, str],
    seconds: float,
    tell: Callable[[Line], None],
) -> str:
    """Runs a part in an environment; every line that it writes is told as it comes.

    Returns:
      Why it failed, or "".
    """
    door = str(ROOT / "bench" / "accelerator.py")
    command = [place.python, door, f"--worker={place.piece}/{place.part.side}"]
    command.append(f"--setting={settings.dump(setting)}")
    with open(place.log, "w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=env,
            start_new_session=True,  # so that all of its own children can be killed with it
        )
    queue: Queue[str | None] = Queue()
    threading.Thread(target=_listen, args=(process.stdout, queue), daemon=True).start()
    deadline = time.monotonic() + seconds
    try:
        killed = not _until_end(queue, deadline, tell)
        if not killed:
            process.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        killed = True
    finally:
        end(process)
    if killed:
        return f"killed after {seconds:.0f} s: {tail(place.log)}"
    return f"ended with {process.returncode}: {tail(place.log)}" if process.returncode else ""


def _listen(stream: Any, queue: "Queue[str | None]") -> None:
    with stream:
        for text in stream:
            queue.put(text)
    queue.put(None)


def _until_end(queue: "Queue[str | None]", deadline: float, tell: Callable[[Line], None]) -> bool:
    """Tells lines until there are no more (True), or it is too late (False)."""
    while (left := deadline - time.monotonic()) > 0:
        try:
            text = queue.get(timeout=left)
        except Empty:
            break
        if text is None:
            return True
        try:
            line = json.loads(text)
        except ValueError:  # cut short by a crash
            continue
        tell(line)
    return False


def end(process: "subprocess.Popen[str]") -> None:
    """Kills a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(place: Place, setting: Setting) -> dict[str, str]:
    """Environment of a part's process: caches that all share, memory, flags; no network."""
    folder = Path(setting.folder).absolute()
    own = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XLA_PYTHON_CLIENT_MEM_FRACTION": str(place.part.memory),
        "HF_HUB_OFFLINE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    paths = [str(ROOT), str(ROOT / "bench"), os.environ.get("PYTHONPATH", "")]
    own["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    flags = [os.environ.get("XLA_FLAGS", ""), place.part.flags]
    platforms = "cpu" if setting.tiny else os.environ.get("JAX_PLATFORMS", "")
    if platforms:  # some pieces compare with the CPU
        own["JAX_PLATFORMS"] = platforms if "cpu" in platforms else f"{platforms},cpu"
    if setting.tiny:
        flags.append(COMPILE_SOON)
    elif on_nvidia() and not place.part.torch:
        flags.append(autotune_flags(folder / "autotune" / f"{place.name}.txt"))
    own["XLA_FLAGS"] = " ".join(filter(None, flags))
    return os.environ | own


def on_nvidia() -> bool:
    """Says if JAX will compute on a GPU, as far as can be told without importing it."""
    platforms = os.environ.get("JAX_PLATFORMS", "cuda")
    return platforms.startswith("cuda") and any(Path("/dev").glob("nvidia[0-9]*"))


def autotune_flags(file: Path) -> str:
    """Keeps what the compiler's trials found; takes what an earlier run of the part found."""
    file.parent.mkdir(parents=True, exist_ok=True)
    found = file.with_suffix(".new.txt")
    if found.is_file():  # of a run that came to its end, see `accelerator`
        found.unlink()
    load = f" --xla_gpu_load_autotune_results_from={file}" if file.is_file() else ""
    return f"--xla_gpu_dump_autotune_results_to={found}{load}"


def keep_autotune(place: Place, setting: Setting, failed: bool) -> None:
    """After a part: what it found counts from now on; what it may have failed by does not."""
    file = Path(setting.folder).absolute() / "autotune" / f"{place.name}.txt"
    found = file.with_suffix(".new.txt")
    if failed:
        file.unlink(missing_ok=True)
        found.unlink(missing_ok=True)
    elif found.is_file():
        found.replace(file)


def tail(log: Path) -> str:
    """The end of a log, as one line."""
    return " ".join(log.read_text(errors="replace").split())[-TAIL:]


def private_stdout() -> Any:
    """The pipe to the parent; whatever else prints to standard output goes to the log."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return stream
