"""Define the `tune` command, with one module per verb; a verb parses, calls and prints.

Every command line imports every verb, if only for its help. A verb therefore imports slow packages inside its function:
Optuna, SQLAlchemy, SciPy and Ray together take seconds.
"""
