"""Runs trials: Ray Tune places them, an actor holds the trainer process of each slot."""
