"""Our search decisions and those of other libraries, replayed on the same recorded learning curves."""
