"""``python -m empathy_gym``: the same as the command ``empathy-gym``."""

from __future__ import annotations

import sys

from empathy_gym.cli import main

if __name__ == "__main__":
    sys.exit(main())
