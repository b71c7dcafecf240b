"""Leases of workdirs in a bucket: an object names the holding process, which renews it.

A bucket has no lock that ends with its process. So the holder writes a small object repeatedly,
each time on the condition that its own last write still stands (the object's generation): of two
processes that want it at once, one gets it. A lease that was not renewed in time may be taken over;
the process that held it then no longer saves.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple

from jaxft.errors import UserError
from jaxft.runtime import paths

NAME = ".lease.json"
SECONDS = 60.0  # validity of a lease
RENEWALS = 3  # in that time, so that two may fail
POLL_SECONDS = 1.0
REQUEST_SECONDS = 10.0


class Note(NamedTuple):
    """Content of the object; `generation` is 0 if there is none."""

    generation: int = 0
    token: str = ""
    holder: str = "nobody"
    seconds: float = 0.0
    until: float = 0.0

    def __str__(self) -> str:
        clock = datetime.fromtimestamp(self.until).astimezone().strftime("%H:%M:%S %Z")
        return f"held by {self.holder} until {clock}"


class Lease:
    """The lease of a workdir, which this process wants or has."""

    def __init__(self, workdir: paths.AnyPath) -> None:
        from google.cloud import storage

        self._workdir = str(workdir)
        bucket, folder = paths.in_bucket(self._workdir)
        self._bucket, self._name = storage.Client().bucket(bucket), f"{folder}/{NAME}"
        self._token = uuid.uuid4().hex
        self._generation = 0
        self._taken_by = ""
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)

    def look(self) -> Note:
        """Read the object as it is now."""
        from google.api_core.exceptions import NotFound

        found = self._bucket.get_blob(self._name, timeout=REQUEST_SECONDS)
        if found is None:
            return Note()
        try:
            return Note(found.generation, **json.loads(found.download_as_bytes()))
        except NotFound:  # it was written anew between the two requests
            return self.look()
        except (ValueError, TypeError):  # of something else, which holds nothing
            return Note(found.generation)

    def take(self, generation: int) -> bool:
        """Take the lease if the object has this generation; return True on success."""
        from google.cloud.storage.retry import DEFAULT_RETRY

        if self._write(generation, DEFAULT_RETRY):
            return False
        self._renewing.start()
        return True

    def demand(self) -> None:
        """Raise UserError if another process has taken the lease over."""
        if self._taken_by:
            raise UserError(
                f"{self._workdir} was taken over by {self._taken_by}",
                hint="This process did not renew its lease in time, and no longer saves.",
            )

    def release(self) -> None:
        """End the lease, so that the next process need not wait."""
        self._ended.set()
        self._renewing.join()
        with suppress(Exception):  # it expires anyway
            self._bucket.blob(self._name).delete(
                if_generation_match=self._generation, timeout=REQUEST_SECONDS
            )

    def _write(self, generation: int, retry: Any) -> str:
        """Write the object over one of this generation; return who has it instead, "" if nobody.

        `retry` is the client's policy for asking again; None: it does not.
        """
        from google.api_core.exceptions import PreconditionFailed

        note = {
            "token": self._token,
            "holder": f"process {os.getpid()} on {socket.gethostname()}",
            "seconds": SECONDS,
            "until": time.time() + SECONDS,
        }
        blob = self._bucket.blob(self._name)  # anew, for a used one asks for its old generation
        try:
            blob.upload_from_string(
                json.dumps(note, indent=2),
                content_type="application/json",
                if_generation_match=generation,
                timeout=REQUEST_SECONDS,
                retry=retry,
            )
        except PreconditionFailed:
            found = self.look()
            if found.token != self._token:
                return found.holder
            self._generation = found.generation  # a write of ours, whose answer was lost
        else:
            self._generation = blob.generation
        return ""

    def _renew(self) -> None:
        while not self._taken_by and not self._ended.wait(SECONDS / RENEWALS):
            with suppress(Exception):  # of the network; the next renewal may come through
                self._taken_by = self._write(self._generation, None)


@contextmanager
def hold(workdir: paths.AnyPath, say: Callable[[str], None]) -> Iterator[Lease]:
    """Hold a workdir in a bucket; first wait for the end of a lease that a killed process left.

    Raises:
      UserError: another process holds it, and renewed it during the wait; or the object cannot be
        read or written.
    """
    from google.api_core.exceptions import GoogleAPIError

    lease = Lease(workdir)
    try:
        while not lease.take(_free(lease, str(workdir), say)):
            pass  # another was faster: see who
    except GoogleAPIError as error:
        raise UserError(f"{workdir} cannot be held: {error}", hint=paths.CREDENTIALS) from error
    try:
        yield lease
    finally:
        lease.release()


def _free(lease: Lease, workdir: str, say: Callable[[str], None]) -> int:
    """Wait until the lease is free; return the generation to replace.

    Raises:
      UserError: its holder is alive.
    """
    first = lease.look()
    # No longer than its validity, whatever the clock of its holder says.
    patience = min(first.until - time.time(), first.seconds)
    if patience <= 0:
        return first.generation
    say(f"{workdir} is {first}; waiting to see if that process is alive")
    end = time.monotonic() + patience
    while time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        note = lease.look()
        if not note.generation:
            return 0
        if note.generation != first.generation:
            raise UserError(
                f"Another process is running in {workdir}: it is {note}, and renewed",
                hint="Wait for it to end, or choose another --workdir.",
            )
    return first.generation
