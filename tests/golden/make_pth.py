"""Make the small .pth files of test_torch_file.py; run with an interpreter that has PyTorch.

python tests/golden/make_pth.py
"""

from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def state() -> OrderedDict[str, torch.Tensor]:
    """Each dtype; a transposed, an offset, a shared, an empty and a scalar tensor; a Parameter."""
    numbers = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 8
    tensors = OrderedDict(
        float32=numbers,
        transposed=numbers.T,
        row=numbers[1],
        empty=torch.zeros(0, 3),
        scalar=torch.tensor(7),
        parameter=torch.nn.Parameter(torch.tensor([1.5, -2.5])),
        truth=torch.tensor([True, False]),
    )
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.uint8):
        tensors[str(dtype).removeprefix("torch.")] = torch.tensor([1, 2, 250]).to(dtype)
    return tensors


def main() -> None:
    layouts = {"zip": True, "legacy": False}
    for layout, is_zip in layouts.items():
        torch.save(state(), HERE / f"{layout}.pth", _use_new_zipfile_serialization=is_zip)
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    for number, tensor in enumerate(model.state_dict().values()):
        tensor.copy_(torch.full_like(tensor, number + 1))
    checkpoint = {"epoch": 3, "state_dict": torch.nn.DataParallel(model).state_dict()}
    torch.save(checkpoint, HERE / "nested.pth")


if __name__ == "__main__":
    main()
