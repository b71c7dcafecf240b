"""`python -m jaxft` is `jaxft`."""

from jaxft.main import entry

entry()
