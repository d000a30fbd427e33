"""Operating system services: processes, files, stack dumps."""
