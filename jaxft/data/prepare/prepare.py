"""`jaxft prepare`: a folder or CSV of image files -> a TFDS data set in array_record.

Everything is written aside, in OUTPUT.partial, and gets its name when it is whole. Shards that have
their notes there are finished; a restart keeps them and makes the others. The images of a shard
depend on the source alone, not on the number of workers.
"""

import os

from jaxft.data.images.sizing import MOST_PIXELS
from jaxft.data.prepare.aside import DATA, NOTES, agree, clear_notes, held, remove
from jaxft.data.prepare.job import Form
from jaxft.data.prepare.outcome import Prepared, all_unreadable, finish, note_of
from jaxft.data.prepare.shards import dataset_name, jobs_of
from jaxft.data.prepare.source import demand_apart, free_place, listed
from jaxft.data.prepare.workers import write_shards
from jaxft.data.sources import tfds
from jaxft.data.sources.left_out import left_out_in_words
from jaxft.errors import UserError, in_a_line
from jaxft.runtime.console import Console
from jaxft.runtime.process import cores


def prepare(
    source: str, output: str, form: Form, workers: int = 0, console: Console | None = None
) -> Prepared:
    """Check, shrink and store every image; go on where an interrupted call stopped.

    Args:
      source: "folder:PATH" or "csv:FILE"; its own splits become train, validation and test, and
        without one all images are in train.
      output: the folder to make.
      form: how the images are stored.
      workers: processes; 0 for one a core.

    Raises:
      UserError: the source or the output can't be used, the disk is full, a worker was killed.
    """
    console = console or Console(None)
    tfds.demand_packages("prepare")
    if form.max_pixels > MOST_PIXELS:
        raise UserError(f"--max-pixels should be at most {MOST_PIXELS}, the most that Pillow opens")
    place = free_place(output)
    splits, found, base = listed(source)
    classes = found.classes
    aside = place.with_name(f"{place.name}.partial")
    demand_apart(place, aside, source, splits)
    with held(aside):
        free_place(output)  # another call may have finished
        clear_notes(aside / NOTES)
        agree(aside, source, form, splits, classes)
        jobs = jobs_of(aside, dataset_name(place), splits, base, len(classes), form)
        total = sum(len(job.files) for _, job in jobs)
        console.say(f"{total:,} images in {len(classes)} classes -> {in_a_line(place)}")
        if told := left_out_in_words(found):
            console.say(told)
        write_shards([job for _, job in jobs], workers or cores(), console)
        notes = [(split, job, note_of(job)) for split, job in jobs]
        if unreadable := all_unreadable(notes):
            remove(aside)
            raise UserError("no training image can be read:", unreadable)
        whole = finish(aside / DATA, notes, classes, form)
        os.rename(aside / DATA, place)
        remove(aside)
    return whole._replace(output=place)
