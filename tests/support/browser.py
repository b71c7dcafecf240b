"""Headless Chromium, driven through a pipe by the DevTools protocol."""

import fcntl
import json
import os
import shutil
import subprocess
from contextlib import contextmanager

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "about:blank")


class Tab:
    """A tab: commands, and the events that came meanwhile."""

    def __init__(self, write, read):
        self._write, self._read = write, read
        self._session, self._sent = {}, 0
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": found["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The result of a command."""
        self._sent += 1
        told = {"id": self._sent, "method": method, "params": parameters, **self._session}
        self._write.write(json.dumps(told).encode() + b"\0")
        self._write.flush()
        while (answer := self._next()).get("id") != self._sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url, width, height=800, dark=False):
        """Load a page into a window of these CSS pixels."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not self.named("Page.loadEventFired"):
            self.events.append(self._next())

    def named(self, *methods):
        """The events of these names since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def value(self, script):
        """The value of a piece of JavaScript in the page."""
        return self.call("Runtime.evaluate", expression=script)["result"].get("value")

    def _next(self):
        letters = bytearray()
        while (letter := self._read.read(1)) != b"\0":
            assert letter, "the browser has ended"
            letters += letter
        return json.loads(letters)


@contextmanager
def tab(profile):
    """A tab of a browser with its profile in this folder."""
    theirs_read, ours_write = map(_aside, os.pipe())
    ours_read, theirs_write = map(_aside, os.pipe())

    assert PROGRAM is not None
    # The browser reads commands from 3 and answers on 4. A shell sees to that: Python would do it
    # in a fork of itself, which JAX warns of.
    connect = f'exec "$@" 3<&{theirs_read} 4>&{theirs_write}'
    command = [PROGRAM, "--remote-debugging-pipe", f"--user-data-dir={profile}", *FLAGS]
    process = subprocess.Popen(
        ["bash", "-c", connect, "bash", *command],
        pass_fds=(theirs_read, theirs_write),
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_read)
    os.close(theirs_write)
    try:
        with open(ours_write, "wb") as write, open(ours_read, "rb") as read:
            yield Tab(write, read)
    finally:
        process.terminate()
        process.wait(20)


def _aside(number):
    """Move a file's number away from 3 and 4."""
    moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(number)
    return moved
