"""Our search decisions and those of other libraries, replayed over the same recorded learning curves."""
