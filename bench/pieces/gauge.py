"""The GPU's clock, power and temperature while pieces run, as nvidia-smi tells them."""

import shutil
import subprocess
import threading

QUERY = {"clocks.sm": "sm_mhz", "power.draw": "watts", "temperature.gpu": "celsius"}
EVERY_MS = 500


class Gauge:
    """Reads nvidia-smi in the background; without one it knows nothing."""

    def __init__(self) -> None:
        self.now: dict[str, float] | None = None
        self._process: subprocess.Popen[str] | None = None
        program = shutil.which("nvidia-smi")
        if program is not None:
            command = [program, f"--query-gpu={','.join(QUERY)}", f"--loop-ms={EVERY_MS}"]
            self._process = subprocess.Popen(
                [*command, "--format=csv,noheader,nounits"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.now = reading(line) or self.now

    def close(self) -> None:
        """Ends nvidia-smi."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def reading(line: str) -> dict[str, float] | None:
    """Read a line of nvidia-smi; None where it says nothing ("[N/A]")."""
    found = {}
    for name, word in zip(QUERY.values(), line.split(","), strict=False):
        try:
            found[name] = float(word)
        except ValueError:
            continue
    return found or None


def tell(query: str) -> str | None:
    """Answer of nvidia-smi about the first GPU: its "name", its "driver_version"."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.split("\n")[0].strip() or None
