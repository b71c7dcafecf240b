"""Calls of a run's functions, to be traced and never made."""

from typing import Any, NamedTuple


class Call(NamedTuple):
    """A jitted function and the arguments of a run: shapes and their places on a mesh."""

    function: Any
    arguments: tuple[Any, ...]

    def trace(self) -> Any:
        """Trace the call, to count its operations (flops.of_traced) or to lower it."""
        return self.function.trace(*self.arguments)

    def lower(self) -> Any:
        """Lower the call, to compile it."""
        return self.trace().lower()
