"""``python -m noisylab``."""

import sys

from noisylab.cli import main

if __name__ == "__main__":
    sys.exit(main())
