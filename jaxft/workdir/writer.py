"""Jobs done in the background, in turn; at most one of them waits."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple


class Job(NamedTuple):
    """A job that was handed over, and the number by which its owner knows it."""

    number: int
    future: Future[None]


class Writer:
    """A thread that does one job at a time.

    A job that is handed over while another is being done waits, and gives way to a newer one unless
    that needs it. So the thread never lags behind by more than two jobs, however slow it is.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "writer")
        self._jobs: list[Job] = []  # the one being done, and the one that waits

    @property
    def busy(self) -> bool:
        """True while a job is being done."""
        return any(not job.future.done() for job in self._jobs)

    def put(
        self, number: int, work: Callable[[], None], needed: Callable[[int], bool] = lambda _: False
    ) -> None:
        """Hand a job over, in place of the one that waits, or behind it if that one is needed.

        Args:
          number: of the job.
          work: the job.
          needed: tells by its number if a job that waits must be done; it is waited for.

        Raises:
          The error of a job before.
        """
        self._collect()
        if len(self._jobs) > 1:
            doing, waiting = self._jobs
            if needed(waiting.number):
                wait([doing.future])
                self._collect()
            elif waiting.future.cancel():
                self._jobs = [doing]
        self._jobs.append(Job(number, self._thread.submit(work)))

    def wait(self) -> None:
        """Wait until all jobs are done, and raise the error of the first that failed."""
        wait([job.future for job in self._jobs])
        self._collect()

    def close(self) -> None:
        """End the thread, after its jobs."""
        self._thread.shutdown()

    def _collect(self) -> None:
        """Forget jobs that are done; raise the error of the first that failed."""
        done = [job for job in self._jobs if job.future.done()]
        self._jobs = [job for job in self._jobs if job not in done]
        for job in done:
            job.future.result()
