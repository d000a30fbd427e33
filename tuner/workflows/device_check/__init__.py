"""Check the GPUs of a machine as training uses them, with one command: `tune doctor --gpu`.

`session` makes all checks and keeps the report on disk, `checks` plans them, `faults` kills trainers and ranks,
`search` runs a short search, and `report` turns results into text.
"""
