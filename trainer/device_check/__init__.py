"""Check a device for `tune doctor --gpu`: one module per check, each with a function `run`.

The inputs are random or synthetic, with the shapes of Mamba-YOLO at 640 pixels. Training is deterministic, so
everything is measured in torch's deterministic mode.
"""
