"""`python -m sa3_daw` is the command `sa3-daw`."""

import sys

from sa3_daw.cli import main

if __name__ == "__main__":
    sys.exit(main())
