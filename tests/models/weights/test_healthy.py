"""Weights that are not finite are refused where a run begins with them."""

import numpy as np
import pytest
import safetensors.numpy
from ml_dtypes import bfloat16

from jaxft.errors import UserError
from jaxft.models.weights import healthy, pretrained


def test_every_tensor_that_is_not_finite_is_listed():
    arrays = {
        "conv.weight": np.asarray([1.0, np.nan, np.inf], np.float32),
        "fine.weight": np.ones(3, np.float32),
        "bn.bias": np.asarray([[-np.inf, 0]], bfloat16),
        "steps": np.asarray(7),
    }
    with pytest.raises(UserError) as caught:
        healthy.demand_finite("w.pth", arrays)
    assert caught.value.title == "The weights in w.pth are not finite:"
    assert caught.value.offenders == ("conv.weight: 2 of 3 numbers", "bn.bias: 1 of 2 numbers")


def test_weights_of_a_file_are_looked_at_before_they_are_used(tmp_path):
    file = tmp_path / "sick.safetensors"
    safetensors.numpy.save_file({"any.weight": np.full((2, 2), np.nan, np.float32)}, file)
    with pytest.raises(UserError, match="not finite") as caught:
        pretrained.load("efficientnet_lite0", f"file:{file}")
    assert caught.value.offenders == ("any.weight: 4 of 4 numbers",)
