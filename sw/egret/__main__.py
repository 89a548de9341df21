"""``python -m egret``: the `egret` command, for launchers that start modules, such as torchrun."""

import sys

from egret.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
