"""The `tune` command: one module a verb; a verb parses, calls and prints.

Every command line imports every verb, if only for its help. So a verb imports inside its function what takes long to
import: Optuna, SQLAlchemy, SciPy and Ray cost seconds together.
"""
