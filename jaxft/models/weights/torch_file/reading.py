"""PyTorch's weight files, read without PyTorch and without running anything that is in them.

Such a file is a pickle (the names and shapes) beside raw numbers. Python's own unpickler calls
whatever the pickle names, so a small machine stands in for it here: it knows the few opcodes that
a state dict needs and builds plain values only. Two layouts exist: a ZIP archive (archive.py) and
the older one (legacy.py). Every offset, size and stride is checked against the file's length
before it is believed; arrays are views of the file's bytes.
"""

import numpy as np

from jaxft.models.weights.torch_file.archive import ZIP_START, read_zip
from jaxft.models.weights.torch_file.legacy import read_legacy
from jaxft.models.weights.torch_file.malformed import MalformedFile


def read(data: bytes) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict by name, as views of `data`; bfloat16 by ml_dtypes.

    Raises:
      MalformedFile: whatever is wrong with `data`.
    """
    try:
        return read_zip(data) if data.startswith(ZIP_START) else read_legacy(data)
    except MalformedFile:
        raise
    except Exception as error:
        # Nothing but the file's content can have led here, and it may be hostile.
        raise MalformedFile(f"damaged ({type(error).__name__})") from error
