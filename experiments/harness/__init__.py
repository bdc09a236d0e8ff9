"""What the readers of finished sweeps share: one command line, tables, pictures."""
