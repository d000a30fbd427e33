"""Run trials: Ray Tune places them, and an actor holds the trainer process of each slot."""
