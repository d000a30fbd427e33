"""Talk to the operating system: files, file systems, disk space, signals, terminals."""
