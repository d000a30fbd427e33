"""Offer what the command line does as functions and objects, for scripts and notebooks (docs/python-api.md)."""

import warnings

with warnings.catch_warnings():
    # In a notebook, Optuna's progress bars ask for a package that draws them. We show none.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import optuna as optuna
