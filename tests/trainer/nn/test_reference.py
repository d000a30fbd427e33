"""Every module against values of the published implementation (tests/data/reference)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainer.nn import SS2D, LSBlock, RGBlock, SimpleStem, VisionClueMerge, VSSBlock, XSSBlock

REFERENCE = Path(__file__).parents[2] / "data" / "reference"

MODULES = {
    "ss2d": lambda: SS2D(24),
    "ls_block": lambda: LSBlock(8),
    "rg_block": lambda: RGBlock(8),
    "vss_block": lambda: VSSBlock(12, 16),
    "xss_block_project_n2": lambda: XSSBlock(12, 16, 2),
    "xss_block_same_n1": lambda: XSSBlock(16, 16, 1),
    "simple_stem": lambda: SimpleStem(3, 16),
    "vision_clue_merge": lambda: VisionClueMerge(8, 16),
}


def loaded(name: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return the module with the file's parameters, its input and its expected output."""
    module = MODULES[name]().double().eval()
    with np.load(REFERENCE / f"{name}.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    state = {key.removeprefix("param/"): value for key, value in arrays.items() if key.startswith("param/")}
    module.load_state_dict(state)  # strict: our names and shapes must be those of the file
    return module, arrays["input"], arrays["output"]


@pytest.mark.parametrize("name", MODULES)
def test_module_gives_the_published_numbers(name):
    module, x, expected = loaded(name)
    with torch.no_grad():
        y = module(x)
    assert (y - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("name", MODULES)
def test_float32_gives_the_published_numbers_to_single_precision(name):
    module, x, expected = loaded(name)
    with torch.no_grad():
        y = module.float()(x.float())
    assert y.dtype == torch.float32
    assert (y - expected).abs().max() <= 2e-5 * expected.abs().max()


def test_merge_orders_the_corners_of_a_patch_by_column_then_row():
    merge = VisionClueMerge(1, 4).eval()
    nn.init.dirac_(merge.pw_linear[0].weight)
    nn.init.zeros_(merge.pw_linear[0].bias)
    merge.pw_linear = merge.pw_linear[:1]
    patch = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert merge(patch).flatten().tolist() == [1, 3, 2, 4]
