"""A comparison of two runs, for the terminal."""

from jaxft.evaluation.compare import Comparison


def text(found: Comparison, first: str, second: str) -> str:
    """Tell both accuracies, their difference, and the verdict."""
    accuracy, (low, high) = found.accuracy, found.accuracy.interval
    below, above = found.loss_interval
    return "\n".join(
        (
            f"{found.examples:,} examples",
            f"  first   accuracy {found.first:.4f}  {first}",
            f"  second  accuracy {found.second:.4f}  {second}",
            f"right in the first alone: {accuracy.only_first}, "
            f"in the second alone: {accuracy.only_second}",
            f"accuracy: {accuracy.accuracy:+.4f}, 95% interval {low:+.4f} to {high:+.4f}",
            f"loss: {found.loss:+.4f}, 95% interval {below:+.4f} to {above:+.4f}",
            found.verdict,
        )
    )
