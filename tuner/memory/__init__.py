"""Learn how much memory a configuration needs, and which batch sizes fit."""
