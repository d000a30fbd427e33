"""Replay the decisions of a search over recorded learning curves, without training."""
