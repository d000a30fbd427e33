"""Show studies in Optuna's dashboard, with notes, files and attributes that are read from the studies.

The dashboard works on a view of the studies: what it shows in addition to Optuna's record is computed when it is read.
So it is always current, also for studies of earlier versions, and no study is changed.
"""
