"""Report on the training environment for `tune doctor`."""

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
    from trainer.nn.selective_scan import BackendUnavailableError, described

    scans = {}
    for device in ("cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))):
        try:
            scans[device] = described(device)
        except BackendUnavailableError as error:
            problems.append(str(error))
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return EnvironmentRecord(
        versions={"torch": torch.__version__, "ultralytics": installed, "torchvision": version("torchvision")},
        gpus=tuple(Gpu(name=gpu.name, memory_gib=round(gpu.total_memory / 2**30, 1)) for gpu in gpus),
        cuda=torch.version.cuda or "",
        facts={f"scan on {device}": name for device, name in scans.items()},
        problems=tuple(problems),
    )
