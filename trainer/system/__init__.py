"""Talk to the operating system: processes, files, stack dumps."""
