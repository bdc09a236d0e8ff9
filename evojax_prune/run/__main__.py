"""``python -m evojax_prune.run``."""

import sys

from evojax_prune.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
