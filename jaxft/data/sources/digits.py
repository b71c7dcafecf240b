"""Scikit-learn's handwritten digits."""

import numpy as np

from jaxft.data import Dataset
from jaxft.data.sources.arrays import array_split
from jaxft.data.sources.holdout import Holdout
from jaxft.errors import UserError


def open_digits(_: str, holdout: Holdout) -> Dataset:
    """Open the digits.

    Raises:
      UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            'the data source "digits" comes with scikit-learn, which is not installed',
            hint="pip install jaxft[quickstart]",
        ) from None
    bunch = load_digits()
    gray = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(digit) for digit in bunch.target_names)
    return Dataset(classes, *holdout.split(array_split("digits", gray, bunch.target)))
