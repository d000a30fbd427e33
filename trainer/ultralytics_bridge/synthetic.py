"""New models with random images and boxes, to measure them without a data set."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel

from trainer.ultralytics_bridge.models import locate

_NUM_CLASSES = 80
_BOXES_PER_IMAGE = 5


class SyntheticDetector:
    """New model and a synthetic batch for it, the same at each call."""

    def __init__(
        self, name: str, imgsz: int, batch_size: int, device: torch.device, *, half: torch.dtype | None = None
    ) -> None:
        """Build the model and the batch.

        Args:
            name: Model name or YAML, as `locate` takes it.
            imgsz: Side of the images in pixels.
            batch_size: Images in the batch.
            device: Device of model and batch.
            half: Type of autocast in training and inference; None for float32.
        """
        torch.manual_seed(0)
        self.model = DetectionModel(locate(name), nc=_NUM_CLASSES, verbose=False).to(device)
        self.model.args = get_cfg()  # the loss takes its weights from here
        self._device = device
        self._half = half
        num_boxes = _BOXES_PER_IMAGE * batch_size
        batch = {
            "img": torch.rand(batch_size, 3, imgsz, imgsz),
            "batch_idx": torch.arange(batch_size).repeat_interleave(_BOXES_PER_IMAGE).float(),
            "cls": torch.randint(_NUM_CLASSES, (num_boxes, 1)).float(),
            "bboxes": 0.3 + 0.3 * torch.rand(num_boxes, 4),
        }
        self.batch = {key: x.to(device) for key, x in batch.items()}

    def infer(self) -> Tensor:
        """Return the boxes and scores of the batch, before non-maximum suppression."""
        self.model.eval()
        with torch.no_grad(), self._autocast():
            y: Tensor = self.model(self.batch["img"])[0]
        return y

    def train(self) -> None:
        """Run forward, loss and backward, without an optimizer; the gradients are dropped."""
        self.accumulate()
        self.model.zero_grad()

    def accumulate(self) -> None:
        """Run forward, loss and backward, and add to the gradients."""
        self.model.train()
        with self._autocast():
            loss: Any = self.model(self.batch)[0].sum()
        loss.backward()

    def _autocast(self) -> AbstractContextManager[object]:
        return nullcontext() if self._half is None else torch.autocast(self._device.type, self._half)
