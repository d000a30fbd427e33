"""The decisions of a search replayed over recorded learning curves, without training."""
