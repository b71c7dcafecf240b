"""Files of weights, safetensors or PyTorch's, as arrays by name.

A file of PyTorch's is a pickle (the names and shapes) beside raw numbers. Python's own unpickler
calls whatever the pickle names, so a small machine (torch_file/machine.py) stands in for it. Two
layouts exist: a ZIP archive (torch_file/archive.py) and the older one (torch_file/legacy.py). Every
offset, size and stride is checked against the file's length before it is believed; arrays are views
of the file's bytes.
"""

import ml_dtypes
import numpy as np
import safetensors

from jaxft.errors import UserError
from jaxft.models.weights.shards import demand_whole
from jaxft.models.weights.torch_file.archive import ZIP_START, read_zip
from jaxft.models.weights.torch_file.legacy import LEGACY_START, read_legacy
from jaxft.models.weights.torch_file.malformed import MalformedFile, fail
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath

SAFETENSORS_DTYPES: dict[str, np.dtype] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "F64": np.float64,
        "F32": np.float32,
        "F16": np.float16,
        "BF16": ml_dtypes.bfloat16,
        "I64": np.int64,
        "I32": np.int32,
        "I16": np.int16,
        "I8": np.int8,
        "U8": np.uint8,
        "BOOL": np.bool_,
    }.items()
}


def read_weights(path: str | AnyPath, entry: str = "") -> dict[str, np.ndarray]:
    """Read the tensors of a weight file by name; the content tells the kind of file.

    Reads safetensors and PyTorch's .pth, .pt and .bin (ZIP and legacy layout), without PyTorch and
    without running code. Of a trainer's checkpoint the one state dict is taken, under whatever
    name; prefixes that wrappers of a model put before all names are dropped. Numbers keep their
    type (bfloat16 by ml_dtypes).

    Args:
      path: the file.
      entry: the state dict to take where a checkpoint holds several.

    Raises:
      UserError: no such file, a damaged one, a part of one, or one without a single state dict.
    """
    path = paths.of(path)
    demand_whole(path)
    try:
        data = paths.read(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        if data.startswith((ZIP_START, LEGACY_START)):
            arrays = read_torch(data, entry)
        else:
            arrays = _read_safetensors(data)
            if entry:
                fail("it holds one set of weights; only files of PyTorch hold several")
    except MalformedFile as error:
        hint = "Weights are .safetensors, or a state dict saved by torch.save (.pth, .pt, .bin)."
        raise UserError(f"{path}: {error.title}", error.offenders, error.hint or hint) from error
    return arrays


def read_torch(data: bytes, entry: str = "") -> dict[str, np.ndarray]:
    """Read the tensors of PyTorch's state dict by name, as views of `data`; bfloat16 by ml_dtypes.

    Raises:
      MalformedFile: `data` is damaged or holds no state dict, or several and none is chosen.
    """
    try:
        return read_zip(data, entry) if data.startswith(ZIP_START) else read_legacy(data, entry)
    except MalformedFile:
        raise
    except Exception as error:
        # Nothing but the file's content can have led here, and it may be hostile.
        raise MalformedFile(f"damaged ({type(error).__name__})") from error


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        title = "neither safetensors nor one of PyTorch's weight files"
        raise MalformedFile(title, (str(error)[:200],)) from error
    unknown = [f"{name}: {entry['dtype']}" for name, entry in entries]
    unknown = [line for line in unknown if line.rpartition(" ")[2] not in SAFETENSORS_DTYPES]
    if unknown:
        raise MalformedFile("numbers of an unsupported type", tuple(unknown))
    arrays = {
        name: np.frombuffer(entry["data"], SAFETENSORS_DTYPES[entry["dtype"]])
        for name, entry in entries
    }
    return {name: arrays[name].reshape(entry["shape"]) for name, entry in entries}
