"""Log a study to TensorBoard, MLflow and W&B while it runs, if the user asks for it.

`runs` reduces the study's record to the runs that a tracker shows. `tracking` follows a driven study with one thread
per tracker, and `sender` is the process in which the tracker's own library works: whatever the library does, it costs
the search nothing, and the process can be killed. `messages` holds the records that cross between the two.
"""
