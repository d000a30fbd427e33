"""The batch script that runs a search under SLURM, and the job that it asks for."""
