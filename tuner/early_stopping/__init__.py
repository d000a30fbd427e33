"""Which trial goes on at a rung: pure functions of the curves so far, one module a rule."""

from tuner.early_stopping.asha import Asha, Curves

__all__ = ["Asha", "Curves"]
