"""The count of a kernel's instructions: which loops it finds, and what it spreads over their updates."""

import pytest
import torch

pytest.importorskip("triton")

from benchmarks.scan_instructions import Code, per_update
from tests.support.triton_ahead import Launch, compiled, launches_of_a_step, machine_code

ONE_TOKEN_OF_64 = Launch("output_kernel", (), {"BLOCK_LENGTH": 1, "BLOCK_CHANNELS": 64})
"""A block with 16 states of two channels in each lane, which makes 32 updates."""


def listing(*lines: str) -> Code:
    """Code in the form of nvdisasm: labels end with a colon, everything else is an instruction."""
    addressed = (f"{x}" if x.endswith(":") else f"        /*{i:04x}*/  {x} ;" for i, x in enumerate(lines))
    return Code("\n".join(addressed))


SPANS = ("MOV R1, R2",) * 5
STATES = (".L_states:", "MUFU.EX2 R0, R0", "@!P1 LDG.E R1, [R2]", "MUFU.EX2 R1, R1", "@P0 BRA `(.L_states)")
REST = (
    "@!P2 BRA `(.L_none)",
    "MOV R1, R1",
    ".L_rest:",
    "MUFU.EX2 R0, R0",
    "@P3 BRA `(.L_rest)",
    "MOV R1, R2",
    ".L_none:",
)
BLOCKS = (".L_blocks:", "FMUL R1, R1, R2", *STATES, *REST, "NOP", "MUFU.RCP R1, R1", "@P4 BRA `(.L_blocks)")
END = ("EXIT", ".L_end:", "BRA `(.L_end)")


def test_a_turn_is_shared_by_its_exponentials_and_a_block_by_all_its_updates():
    found = per_update(listing(*SPANS, *BLOCKS, *END), ONE_TOKEN_OF_64)
    around = 4  # the product, the reciprocal, the branch over the rest, and the branch back
    assert found == {
        "all": 4 / 2 + around / 32,
        "memory": 1 / 2,
        "shuffles": 0,
        "special": 2 / 2 + 1 / 32,
        "exponentials": 1,
    }


def test_backward_counts_the_states_of_all_blocks_but_the_first_twice():
    inner = [line.replace(".L", f".L_{loop}") for loop in ("states", "gradients") for line in BLOCKS]
    code = listing(".L_chunks:", *inner, "MOV R1, R2", "@P5 BRA `(.L_chunks)", *END)
    launch = Launch("gradient_kernel", (), {"BLOCK_LENGTH": 8, "BLOCK_CHANNELS": 64})
    a_pass = 4 / 2 + 4 / 256
    assert per_update(code, launch)["all"] == pytest.approx(3 / 4 * a_pass + a_pass + 2 / (4 * 256))


def test_loops_are_found_in_real_code():
    launches = launches_of_a_step(torch.float32)
    of_spans, of_output = (next(x for x in launches if x.kernel == f"{name}_kernel") for name in ("carry", "output"))
    counts = [per_update(Code(machine_code(compiled(x, 90))[1]), x) for x in (of_spans, of_output)]
    for count in counts:
        assert 1 < count["exponentials"] < count["special"] < 1.2  # besides the decays, two for each softplus
        assert count["shuffles"] == 0
    assert counts[0]["all"] < counts[1]["all"]
