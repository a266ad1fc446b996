"""``python -m ecgnb``: the same as the `ecgnb` command."""

import sys

from ecgnb.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
