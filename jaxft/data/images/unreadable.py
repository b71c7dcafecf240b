"""Images that cannot be read."""

from jaxft.errors import UserError


class UnreadableImage(UserError):
    """A file that does not hold a whole image of a kind that we read."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__("an image can't be read:", [f"{name}: {reason}"])

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.name, self.reason)


def reason_of(error: Exception) -> str:
    """An error's text in one line, for `UnreadableImage`."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = " ".join(str(error).split())
    return text or type(error).__name__
