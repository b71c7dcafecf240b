"""Worker processes that write shards."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from jaxft.data.prepare import shard
from jaxft.data.prepare.job import Job, read_note
from jaxft.data.prepare.shard import Shared
from jaxft.errors import UserError
from jaxft.runtime.console import Console


def write_shards(jobs: Sequence[Job], workers: int, console: Console) -> None:
    """Make the shards that are not whole yet.

    Raises:
      UserError: a worker was killed, or could not write.
    """
    left = [job for job in jobs if read_note(job) is None]
    total, to_do = (sum(len(job.files) for job in some) for some in (jobs, left))
    if to_do < total:
        console.say(f"{total - to_do:,} images are already done")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jaxft.data.prepare.shard"])
    shared = Shared(context.RawArray("q", max(1, len(left))), context.RawValue("b", 0))
    pool = ProcessPoolExecutor(
        max(1, min(workers, len(left))), context, shard.start_worker, (shared,)
    )
    with pool, console.bar(total, "prepare", done=total - to_do) as bar:
        try:
            running: Any = {pool.submit(shard.write, job, slot) for slot, job in enumerate(left)}
            while running:
                ended, running = wait(running, 0.2, FIRST_EXCEPTION)
                for job in ended:
                    job.result()
                bar.update(total - to_do + sum(shared.done) - bar.n)
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, perhaps for lack of memory",
                hint="The same command resumes; --workers=N starts fewer.",
            ) from None
        finally:
            shared.stop.value = 1
            pool.shutdown(cancel_futures=True)
