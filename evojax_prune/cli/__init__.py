"""The command line: configuration, flags, progress."""
