"""The refusal of a weight file."""

from typing import NoReturn


class MalformedFile(ValueError):
    """The file is damaged or holds no weights; `offenders` lists the reasons, `hint` a way out."""

    def __init__(self, title: str, offenders: tuple[str, ...] = (), hint: str = "") -> None:
        self.title, self.offenders, self.hint = title, offenders, hint
        super().__init__(title)


def fail(title: str) -> NoReturn:
    """Raise MalformedFile without offenders."""
    raise MalformedFile(title)
