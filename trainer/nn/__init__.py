"""Modules of Mamba-YOLO, independent of ultralytics.

Architecture: "Mamba YOLO: A Simple Baseline for Object Detection with State Space Model",
https://arxiv.org/abs/2406.05835.
"""

from trainer.nn.blocks import LSBlock, RGBlock, VSSBlock, XSSBlock
from trainer.nn.downsampling import SimpleStem, VisionClueMerge
from trainer.nn.norm import LayerNorm2d
from trainer.nn.ss2d import SS2D, is_ssm_parameter

__all__ = [
    "SS2D",
    "LSBlock",
    "LayerNorm2d",
    "RGBlock",
    "SimpleStem",
    "VSSBlock",
    "VisionClueMerge",
    "XSSBlock",
    "is_ssm_parameter",
]
