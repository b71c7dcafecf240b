"""torchvision's ImageFolder and DataLoader over the same files, to the device."""

import os
import time

from pieces import peer, photos
from pieces.clock import Timing
from pieces.report import Report
from pieces.setting import Setting


def with_torch(setting: Setting, report: Report) -> None:
    """RandomResizedCrop and flip, the usual chain: a line with milliseconds a batch."""
    torch = peer.start(report)
    if torch is None:
        return
    from torchvision import datasets
    from torchvision import transforms as T

    chain = [T.RandomResizedCrop(setting.image_size), T.RandomHorizontalFlip(), T.ToTensor()]
    images = datasets.ImageFolder(str(photos.folder(setting)), T.Compose(chain))
    workers = 0 if setting.tiny else len(os.sched_getaffinity(0))
    loader = torch.utils.data.DataLoader(
        images,
        setting.batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    with report.guard("batch"):
        ms, count = [], len(images) // setting.batch
        for _ in range(1 + min(3, setting.rounds)):  # the first starts the workers
            started = time.perf_counter()
            for batch in loader:
                on_device = [part.to(peer.device(), non_blocking=True) for part in batch]
            peer.wait(on_device)
            ms.append(1e3 * (time.perf_counter() - started) / count)
        facts = {"lowering": "files", "cores": workers}
        shape = f"{setting.batch} views of {setting.image_size} px"
        timing = Timing(tuple(ms[1:]), count)
        report.figure("batch", timing, images=setting.batch, shape=shape, **facts)
