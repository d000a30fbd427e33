"""Checks of a model's YAML before ultralytics reads it.

ultralytics evaluates no code in it while `ULTRALYTICS_SAFE_LOAD` is set (see `environment`): the activation must be a
plain call of a `torch.nn` class, a layer must be a layer class, an argument must be a literal. This module checks what
ultralytics does not limit.
"""

from pathlib import Path

import yaml

from trainer.exceptions import ModelError

MAX_BYTES = 256 * 1024
"""Size limit in bytes; ultralytics' own files have at most 5 KiB."""
MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_TEXT = 1000
"""Maximum characters of one value; Python's own parser of literals runs out of memory on long ones."""

_DOWNLOADS = "TorchVision"
"""Layer whose constructor downloads weights."""


def check(path: Path) -> None:
    """Refuse a file that expands beyond its contents, describes no model, or would download something.

    Raises:
        ModelError: The file is refused. The message is one line, with the position if there is one.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise ModelError(f"A model must be a .yaml or .pt file, but got '{path}'; rename it or choose another.")
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"A model's YAML must be readable as UTF-8, but '{path}' is not ({error}); save it as UTF-8."
        ) from error
    if len(text.encode()) > MAX_BYTES:
        raise ModelError(
            f"A model's YAML may have {MAX_BYTES} bytes, but '{path}' has more; check that it is the right file."
        )
    depth = num_nodes = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            num_nodes += isinstance(event, yaml.NodeEvent)
            fault = _fault(event, depth, num_nodes)
            if fault:
                raise ModelError(f"{path}:{_line(event)}: {fault}")
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"A model's YAML must be valid, but '{path}' is not: {reason}; correct it.") from error


def _line(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1


def _fault(event: yaml.Event, depth: int, num_nodes: int) -> str:
    """Return the fault in the next part of the file; empty if there is none."""
    if isinstance(event, yaml.AliasEvent):
        return "a model's YAML must not have aliases, which can expand to a huge model; write the value out"
    if depth > MAX_DEPTH or num_nodes > MAX_NODES:
        return f"a model's YAML may have {MAX_NODES} keys and values in {MAX_DEPTH} levels; is this the right file?"
    if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_TEXT:
        return f"a value may have at most {MAX_TEXT} characters, but this one has {len(event.value)}; shorten it"
    if isinstance(event, yaml.ScalarEvent) and event.value == _DOWNLOADS:
        return (
            f"the layer {_DOWNLOADS} downloads weights while the model is built, which is not allowed; use other layers"
        )
    return ""
