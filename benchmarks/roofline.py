"""Estimate how much several trials on one GPU gain, from counts and from the published limits of an H100.

    python -m benchmarks.roofline [--imgsz 640 320] [--batch 16] [--trials 1 2 4]

A training step is counted on a CPU: the operations that it starts, the bytes that they read and write with 2 bytes per
number, and its FLOPs. Nothing is timed, so the result is an estimate, with the assumptions below.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.decisions.layout import as_markdown
from trainer.ultralytics_bridge import environment

environment.configure()

import torch  # noqa: E402 - ultralytics reads its settings when it is imported
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils.torch_utils import get_flops  # noqa: E402

import trainer.models  # noqa: E402

MODELS = ("mamba-yolo-n", "mamba-yolo-t", "mamba-yolo-b", "mamba-yolo-l")

BANDWIDTH = 3.35e12
"""Bytes per second that an H100 SXM reads and writes, by its data sheet (HBM3)."""
FLOPS = 989e12
"""FLOPs per second of an H100 SXM in dense bfloat16 or float16, by its data sheet."""

ATTAINED_BANDWIDTH = 0.6
ATTAINED_FLOPS = 0.4
"""Shares of these that a training step attains: assumptions."""
STARTS_S = (10e-6, 20e-6)
"""Time in which PyTorch starts an operation on the GPU, with its share of Python: two assumptions."""

_VIEWS = frozenset(
    (
        *("alias", "as_strided", "chunk", "detach", "empty", "empty_like"),
        *("empty_strided", "expand", "narrow", "new_empty", "permute", "reshape"),
        *("_reshape_alias", "select", "slice", "split", "split_with_sizes", "squeeze"),
        *("promote_types", "t", "transpose", "unbind", "unsqueeze", "_unsafe_view", "view"),
    )
)
"""Operations that start nothing on the GPU."""

_PRODUCTS = {"mamba_yolo::selective_scan": (1, 1, 2), "mamba_yolo::selective_scan_backward": (2, 3, 5)}
"""For each of our operators: position of the low-rank time steps, number of products, and how often the expanded steps
or their gradients are written or read. Forward writes and reads them; backward does both again, writes their gradients,
and reads these for two products."""

_GRADIENTS = 3
"""A forward and a backward pass have three times the FLOPs of a forward pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Counts of the training step of one image, without loss, optimizer and data loading."""

    operations: int
    bytes_moved: int
    flops: float

    def on_gpu_s(self, batch: int) -> float:
        """Return the time that the GPU needs for a batch, in seconds: that of the scarcer resource."""
        return batch * max(self.bytes_moved / (ATTAINED_BANDWIDTH * BANDWIDTH), self.flops / (ATTAINED_FLOPS * FLOPS))

    def images_per_s(self, batch: int, trials: int, start_s: float) -> float:
        """Return the images per second of trials on one GPU: each starts its own operations, the GPU serves all."""
        round_s = max(self.operations * start_s, trials * self.on_gpu_s(batch))
        return trials * batch / round_s


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0
        self.bytes_moved = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._schema.name.partition("::")[2] not in _VIEWS:
            tensors = {id(leaf): leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)}
            self.operations += 1
            self.bytes_moved += sum(t.numel() * _bytes_of(t) for t in tensors.values())
        self._count_time_steps(func._schema.name, args)
        return out

    def _count_time_steps(self, name: str, args: tuple[Any, ...]) -> None:
        """Count the products inside our operators, which compute the time steps of a scan from their low-rank form."""
        if name not in _PRODUCTS:
            return
        low_rank_at, products, passes = _PRODUCTS[name]
        low_rank, weight = args[low_rank_at], args[low_rank_at + 6]
        self.operations += products
        self.bytes_moved += passes * low_rank.numel() // weight.shape[-1] * weight.shape[-2] * _bytes_of(low_rank)


def _bytes_of(tensor: torch.Tensor) -> int:
    return 2 if tensor.is_floating_point() else tensor.element_size()


def counted(name: str, imgsz: int) -> Step:
    """Count the training step of a model."""
    file = Path(trainer.models.__file__).with_name(f"{name}.yaml")
    model = DetectionModel(str(file), ch=3, nc=80, verbose=False)
    forward_flops = 1e9 * float(get_flops(model, imgsz))
    model = model.train().to(memory_format=torch.channels_last)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    image = torch.rand(1, 3, imgsz, imgsz).to(memory_format=torch.channels_last)
    with _Counter() as counter:
        outputs = [leaf for leaf in tree_leaves(model(image)) if isinstance(leaf, torch.Tensor)]
        torch.stack([output.sum() for output in outputs]).sum().backward()  # type: ignore[no-untyped-call]
    return Step(operations=counter.operations, bytes_moved=counter.bytes_moved, flops=_GRADIENTS * forward_flops)


def main() -> None:
    options = _options()
    rows = []
    for imgsz in options.imgsz:
        for name in MODELS:
            step = counted(name, imgsz)
            gains = [
                " / ".join(
                    f"{step.images_per_s(options.batch, n, s) / step.images_per_s(options.batch, 1, s):.2f}"
                    for n in options.trials
                    if n > 1
                )
                for s in STARTS_S
            ]
            starts = [1e3 * step.operations * s for s in STARTS_S]
            alone = [8 * step.images_per_s(options.batch, 1, s) for s in STARTS_S]
            rows.append(
                [
                    name,
                    str(imgsz),
                    f"{step.flops / 1e9:,.0f}",
                    f"{step.bytes_moved / 2**30:.2f}",
                    f"{step.operations:,}",
                    f"{1e3 * step.on_gpu_s(options.batch):.1f}",
                    " / ".join(f"{each:.1f}" for each in starts),
                    " / ".join(f"{each:,.0f}" for each in alone),
                    *gains,
                ]
            )
    header = ["model", "imgsz", "GFLOPs", "GiB", "operations", "GPU ms", "start ms", "images/s of 8 GPUs"]
    header += [f"gain, {1e6 * s:.0f} us" for s in STARTS_S]
    sys.stdout.write(as_markdown(header, rows) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Estimate how much several trials on one H100 gain")
    parser.add_argument("--imgsz", type=int, nargs="+", default=[640, 320], help="edge of the images, in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images in a batch")
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 2, 4], help="trials on one GPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
