"""Count the instructions of the Triton scan in the machine code of a GPU that need not be there.

    python -m benchmarks.scan_instructions [--capability 90]

The kernels of the default configurations are compiled ahead of time, for 16 states, and their loops are found by the
branches that lead back. A state update (a state of a channel at a token) takes one exponential, so the exponentials in
a loop over states are the updates of one turn. Instructions of the enclosing loops are spread over the updates of a
block of tokens or of a chunk. What runs once for each span, and the rest of a division of the states by the unrolled
loop, are left out. Instructions are those of a lane: a warp issues each of them once.

Nothing is timed. The last columns say how long an H100 takes for 16 samples with 4 x 128 channels and 25,600 tokens at
1.98 GHz, if it issues one instruction per scheduler and clock, and if its units for exponentials and reciprocals never
wait.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from benchmarks.decisions.layout import as_markdown
from tests.support.triton_ahead import Launch, compiled, launches_of_a_step, machine_code
from trainer.nn.selective_scan._configurations import CHUNK_LENGTH, WARP_SIZE

_STATES = 16
_UPDATES = 16 * 4 * 128 * 25_600 * _STATES
_CLOCKS_PER_S = 132 * 1.98e9
"""Multiprocessors of an H100 times its clock."""
_ISSUED, _SPECIAL = 4 * 32, 16
"""Lanes per multiprocessor and clock: of all instructions, and of exponentials and reciprocals."""

_KINDS = {
    "memory": r"(LD|ST)[GLS]?\b",
    "shuffles": r"SHFL\b",
    "special": r"MUFU\b",
    "exponentials": r"MUFU\.EX2\b",
    "all": r"(?!NOP\b)",
}


@dataclass
class Loop:
    """Instructions from the target of a branch back to that branch."""

    first: int
    last: int
    inner: list["Loop"] = field(default_factory=list)


Count = Counter[str]
"""Instructions of each kind."""


class Code:
    """Machine code of a kernel as nvdisasm prints it."""

    def __init__(self, text: str) -> None:
        self._instructions: list[str] = []
        labels: dict[str, int] = {}
        for line in text.splitlines():
            if label := re.match(r"(\.L\w+):", line):
                labels[label[1]] = len(self._instructions)
            elif instruction := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@\S+\s+)?(.*?)\s*;", line):
                self._instructions.append(instruction[1])
        self._branches = [
            (i, labels[target[1]])
            for i, instruction in enumerate(self._instructions)
            if (target := re.match(r"BRA.*`\((\.L\w+)\)", instruction))
        ]

    def loops(self) -> list[Loop]:
        """Return the outermost loops in their order, without the endless one behind the end."""
        top = Loop(0, len(self._instructions))
        for loop in sorted((Loop(t, i) for i, t in self._branches if t < i), key=lambda x: (x.first, -x.last)):
            around = top
            while around.inner and loop.first < around.inner[-1].last:
                around = around.inner[-1]
            around.inner.append(loop)
        return top.inner

    def count(self, first: int, last: int) -> Count:
        """Count the instructions of each kind from `first` to `last`."""
        return Counter(
            {
                kind: sum(bool(re.match(pattern, x)) for x in self._instructions[first : last + 1])
                for kind, pattern in _KINDS.items()
            }
        )

    def skipped(self, loop: Loop) -> tuple[int, int]:
        """Return the first and last instruction that the closest branch around `loop` skips."""
        around = [(i + 1, t - 1) for i, t in self._branches if i < loop.first and loop.last < t]
        return max(around)


def per_update(code: Code, launch: Launch) -> dict[str, float]:
    """Return the instructions of each kind per state update."""
    updates = _STATES * launch.options["BLOCK_LENGTH"] * launch.options["BLOCK_CHANNELS"] // WARP_SIZE
    (outermost,) = code.loops()
    if launch.kernel != "gradient_kernel":
        return _of_blocks(code, outermost, updates)
    # For each chunk, the states before all blocks but the first are computed again, then the gradients of all blocks.
    blocks = CHUNK_LENGTH // launch.options["BLOCK_LENGTH"]
    states, gradients = outermost.inner
    around = code.count(outermost.first, outermost.last)
    for loop in outermost.inner:
        around.subtract(code.count(loop.first, loop.last))
    of_states, of_gradients = (_of_blocks(code, loop, updates) for loop in (states, gradients))
    return {
        kind: of_states[kind] * (blocks - 1) / blocks + of_gradients[kind] + around[kind] / (blocks * updates)
        for kind in _KINDS
    }


def _of_blocks(code: Code, loop: Loop, updates: int) -> dict[str, float]:
    """Return the instructions per update of a loop over blocks of so many updates, with a loop over states in it."""
    counts = [code.count(inner.first, inner.last) for inner in loop.inner]
    over_states = max(range(len(counts)), key=lambda i: counts[i]["exponentials"])
    around = code.count(loop.first, loop.last)
    around.subtract(counts[over_states])
    for rest in loop.inner[:over_states] + loop.inner[over_states + 1 :]:
        around.subtract(code.count(*code.skipped(rest)))
    turn = counts[over_states]
    return {kind: turn[kind] / turn["exponentials"] + around[kind] / updates for kind in _KINDS}


def _passes() -> Iterator[tuple[str, list[Launch]]]:
    """Yield the name of each pass with its launches in float32 and in float16."""
    names = {
        ("carry_kernel", False): "forward, states that spans pass on",
        ("output_kernel", None): "forward",
        ("carry_kernel", True): "backward, adjoints that spans pass on",
        ("gradient_kernel", None): "backward, with recomputed states",
    }
    launches = [launches_of_a_step(dtype) for dtype in (torch.float32, torch.float16)]
    for key, name in names.items():
        yield name, [next(x for x in each if (x.kernel, x.options.get("ADJOINT")) == key) for each in launches]


def _row(name: str, launches: Sequence[Launch], capability: int) -> list[str]:
    found = [machine_code(compiled(launch, capability)) for launch in launches]
    in_float32, in_float16 = (per_update(Code(text), launch) for (_, text), launch in zip(found, launches, strict=True))
    registers = max(int(number) for usage, _ in found for number in re.findall(r"REG:(\d+)", usage))
    spilled = max(int(number) for usage, _ in found for number in re.findall(r"STACK:(\d+)", usage))
    ms = [
        1e3 * _UPDATES * in_float32[kind] / (lanes * _CLOCKS_PER_S)
        for kind, lanes in (("all", _ISSUED), ("special", _SPECIAL))
    ]
    return [
        name,
        f"{in_float32['all']:.1f} / {in_float16['all']:.1f}",
        f"{in_float32['memory'] + in_float32['shuffles']:.1f}",
        f"{in_float32['shuffles']:.1f}",
        f"{in_float32['special']:.2f}",
        str(registers),
        str(spilled),
        *(f"{each:.1f}" for each in ms),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--capability", type=int, default=90, help="90 for 9.0 (default)")
    options = parser.parse_args()
    header = ["pass", "instructions fp32 / fp16", "memory and shuffles", "shuffles", "exponentials and reciprocals"]
    header += ["registers", "bytes spilled", "H100 ms, issuing", "exponentials"]
    rows = [_row(name, launches, options.capability) for name, launches in _passes()]
    sys.stdout.write(f"{as_markdown(header, rows)}\n")


if __name__ == "__main__":
    main()
