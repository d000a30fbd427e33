"""Find out whether CUDA's multi-process service (MPS) runs, which lets processes use a GPU at the same time.

Without it, the GPU switches between the processes that share it. It is a service of the machine: a daemon that outlives
the run, and that other users may depend on. So it is never started or stopped here.
"""

import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

_CONTROL = "nvidia-cuda-mps-control"
_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
_DEFAULT_FOLDER = "/tmp/nvidia-mps"
_SOCKET = "control"


def mps_note(environment: Mapping[str, str]) -> str | None:
    """Tell in one line whether trials that share a GPU do so through MPS; None if this machine does not have it.

    Args:
        environment: Environment variables of this process, which trainers inherit.
    """
    if shutil.which(_CONTROL, path=environment.get("PATH")) is None:
        return None
    folder = Path(environment.get(_VARIABLE, _DEFAULT_FOLDER))
    if _is_pipe(folder / _SOCKET):
        return f"trials share the GPU through CUDA's multi-process service, which runs ({folder})"
    return (
        "CUDA's multi-process service (MPS) does not run; it usually makes trials that share a GPU faster: start it "
        f"before the run with `{_CONTROL} -d`"
    )


def _is_pipe(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)
