"""The refusal of a weight file."""

from typing import NoReturn


class MalformedFile(ValueError):
    """The file is damaged or holds more than weights; `offenders` lists the reasons."""

    def __init__(self, title: str, offenders: tuple[str, ...] = ()) -> None:
        self.title, self.offenders = title, offenders
        super().__init__(title)


def fail(title: str) -> NoReturn:
    """Raise MalformedFile without offenders."""
    raise MalformedFile(title)
