"""Count what a training step keeps of one image for its backward pass, in float32 and under AMP.

    python -m benchmarks.kept_memory [--imgsz 640] [--models mamba-yolo-t ...]

The bytes are counted on a CPU: those of all different tensors that autograd saves, without the weights. Under AMP,
their copies in half precision count.
"""

import argparse
import sys

import torch

from benchmarks.decisions.layout import as_markdown
from trainer.ultralytics_bridge import environment

environment.configure()

from trainer.device_check.memory import MODELS, kept_bytes  # noqa: E402 - only after the environment is set


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    device = torch.device("cpu")
    lines = []
    for model in options.models:
        kept_mib = [kept_bytes(model, options.imgsz, device, half=half) / 2**20 for half in (torch.bfloat16, None)]
        lines.append([model.removesuffix(".yaml"), *(f"{mib:,.1f}" for mib in kept_mib)])
    columns = ["model", f"AMP, MiB per image of {options.imgsz} pixels", "float32"]
    sys.stdout.write(f"{as_markdown(columns, lines)}\n")


if __name__ == "__main__":
    main()
