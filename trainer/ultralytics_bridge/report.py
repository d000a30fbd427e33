"""Report on the training environment for `tune doctor`."""

import contextlib
from importlib.metadata import version

from trainer.ultralytics_bridge import environment
from tuner.contract import EnvironmentRecord, Gpu


def environment_report() -> EnvironmentRecord:
    """Return versions, devices and their problems, JSON-able. Imports torch and ultralytics."""
    environment.configure()
    import torch

    installed = version("ultralytics")
    problems = list(environment.version_notes())
    try:
        from trainer.ultralytics_bridge import registration as _registration  # noqa: F401
    except Exception as error:
        problems.append(f"Mamba-YOLO could not be registered with ultralytics {installed}: {error}")
    gpus = tuple(map(_gpu, range(torch.cuda.device_count())))
    scans = {}
    for device in ("cpu", *(f"cuda:{i}" for i in range(len(gpus)))):
        try:
            scans[device] = _scan_on(device)
        except Exception as error:  # whatever a driver that does not work may raise
            told = " ".join(str(error).split())
            problems.append(told if device in told else f"{device}: {told}")
    if not gpus and scans.get("cpu", "").startswith("torch ("):
        problems.append(f"the selective scan of Mamba-YOLO runs in plain torch, several times slower: {scans['cpu']}")
    return EnvironmentRecord(
        versions={"torch": torch.__version__, "ultralytics": installed, "torchvision": version("torchvision")},
        gpus=gpus,
        cuda=torch.version.cuda or "",
        facts={f"scan on {device}": name for device, name in scans.items()},
        problems=tuple(problems),
    )


def _gpu(index: int) -> Gpu:
    import torch

    properties = torch.cuda.get_device_properties(index)
    free_gib = None
    with contextlib.suppress(RuntimeError):  # the scan on this device reports what does not work
        free_gib = round(torch.cuda.mem_get_info(index)[0] / 2**30, 1)
    return Gpu(name=properties.name, memory_gib=round(properties.total_memory / 2**30, 1), free_gib=free_gib)


def _scan_on(device: str) -> str:
    """Describe the selective scan on a device, after one operation there."""
    import torch

    from trainer.nn.selective_scan import described

    torch.ones(8, device=device).sum().item()
    return described(device)
