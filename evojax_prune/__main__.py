"""``python -m evojax_prune``."""

from evojax_prune.cli.signals import program

if __name__ == "__main__":
    program()
