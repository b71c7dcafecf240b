"""Several processes of one run, joined on loopback."""

import os
import socket
import subprocess
import sys

from places import ROOT, SUPPORT

WAIT = 480


def start(script, arguments, devices=4, **environment):
    """One process for each list of arguments, joined on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(ROOT)]),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(len(arguments)),
        **environment,
    }
    return [
        subprocess.Popen(
            [sys.executable, str(SUPPORT / script), *map(str, words)],
            env={**common, "JAX_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, words in enumerate(arguments)
    ]


def finish(started):
    """Wait for all; -> their exit codes, what they wrote to stdout, and to stderr."""
    try:
        told = [process.communicate(timeout=WAIT) for process in started]
    finally:
        for process in started:
            process.kill()
            if process.stdout and not process.stdout.closed:  # it took too long
                process.communicate()
    return [p.returncode for p in started], [out for out, _ in told], [err for _, err in told]
