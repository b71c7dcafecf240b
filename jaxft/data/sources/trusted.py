"""Guard on what a data set's own description may make TFDS import."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

OWN = "tensorflow_datasets.core.features."


@contextmanager
def own_features_only() -> Iterator[None]:
    """Let TFDS look up its own feature classes alone while this lasts.

    A data set's features.json names classes, and TFDS imports the module of any class that it does
    not know: of whatever module, from wherever Python finds it.

    Raises:
      ValueError: names another class.
    """
    from tensorflow_datasets.core.features import feature

    connector: Any = feature.FeatureConnector
    original = vars(connector)["cls_from_name"]

    def checked(cls: Any, name: str) -> Any:
        if not name.startswith(OWN):
            raise ValueError(f"a feature is of the class {name}, which is not one of TFDS's own")
        return original.__get__(None, cls)(name)

    connector.cls_from_name = classmethod(checked)
    try:
        yield
    finally:
        connector.cls_from_name = original
