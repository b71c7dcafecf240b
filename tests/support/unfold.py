"""Text that was folded for a terminal, in one line."""


def unfolded(text):
    """All words of a text, one space between them."""
    return " ".join(text.split())
