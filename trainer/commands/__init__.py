"""Answer the commands of `python -m trainer`."""
