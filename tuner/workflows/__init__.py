"""Carry out a command from start to end: what `tune` does, without the terminal."""
