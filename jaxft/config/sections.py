"""Sections of a config: its images, its model, and the sizes of data that are not there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jaxft.config import image_sizes
from jaxft.data.images.sizing import MOST_PIXELS, Sizing, canvas_size
from jaxft.data.sources.holdout import Holdout
from jaxft.devices import platform


@dataclass(frozen=True)
class DataSettings:
    """Settings of `config.data`; see configs/base.py for each key."""

    source: str
    image_size: int
    interpolation: Literal["auto", "bilinear", "bicubic"]
    fit: Literal["crop", "squash", "pad"]
    batch_size: int
    valid_fraction: float
    split_seed: int
    folds: int
    fold: int
    balance: Literal["none", "sampling", "weights"]
    views_seed: int
    max_pixels: int
    skip_bad: bool
    memory_gb: float
    cache_memory_gb: float
    threads: int
    workers: int

    def sizing(self, image_size: int) -> Sizing:
        """Size at which images are read for a network that sees `image_size` pixels."""
        return Sizing(canvas_size(image_size), self.interpolation, self.max_pixels, self.fit)

    def problems(self) -> Iterator[str]:
        """Yield a message for each value that makes no sense, alone or with others."""
        if not image_sizes.is_allowed(self.image_size):
            yield f"data.image_size should be {image_sizes.ALLOWED} (the weights' own)"
        if self.source.partition(":")[1:] == (":", ""):
            yield f"data.source is {self.source!r}; nothing comes after the colon"
        if not self.batch_size >= 2:
            yield "data.batch_size should be 2 or more"
        if not 0 <= self.views_seed < 2**31:
            yield "data.views_seed should be from 0 to 2147483647"
        if not 1 <= self.max_pixels <= MOST_PIXELS:
            yield f"data.max_pixels should be from 1 to {MOST_PIXELS} (the most that Pillow opens)"
        for key in ("memory_gb", "cache_memory_gb"):
            gigabytes = getattr(self, key)
            if not (gigabytes >= 0 or gigabytes == -1):
                yield f"data.{key} is {gigabytes}; it should be 0 or more, or -1 (a default)"
        for key in ("threads", "workers"):
            if not getattr(self, key) >= 0:
                yield f"data.{key} should be 0 or more"
        held_out = Holdout(self.valid_fraction, self.split_seed, self.folds, self.fold)
        yield from held_out.problems()


@dataclass(frozen=True)
class ModelSettings:
    """Settings of `config.model`; see configs/base.py for each key."""

    name: str
    weights: str
    hidden: tuple[int, ...]
    dropout: tuple[float, ...]
    pooling: Literal["max_avg", "avg"]
    dtype: Literal["auto", "float32", "bfloat16"]
    conv: str

    @property
    def compute_dtype(self) -> str:
        """Dtype that the body computes in; `auto` is bfloat16 where the hardware is made for it."""
        if self.dtype != "auto":
            return self.dtype
        return "float32" if platform.current().name == "cpu" else "bfloat16"

    def problems(self) -> Iterator[str]:
        """Yield a message for each number of the head that makes no sense.

        Names are looked up where all the models are known (`unknown_names`).
        """
        if self.hidden and len(self.dropout) != len(self.hidden) + 1:
            yield (
                f"model.dropout has {len(self.dropout)} rates; it should have one more "
                f"than config.model.hidden ({len(self.hidden)})"
            )
        if not all(0 <= rate < 1 for rate in self.dropout):
            yield "model.dropout: every rate should be at least 0 and less than 1"
        if not all(width >= 1 for width in self.hidden):
            yield "model.hidden: every width should be 1 or more"


@dataclass(frozen=True)
class PlanSettings:
    """Settings of `config.plan`; see configs/base.py for each key."""

    examples: int
    valid_examples: int
    classes: int

    def problems(self) -> Iterator[str]:
        """Yield a message where a number makes no sense."""
        if not all(number >= 0 for number in (self.examples, self.valid_examples, self.classes)):
            yield "plan: every number should be 0 (unknown) or more"
