"""``python -m evojax_prune``."""

import sys

if __name__ == "__main__":
    try:
        from evojax_prune.cli.main import command
    except KeyboardInterrupt:  # while importing
        sys.exit(130)
    command()
