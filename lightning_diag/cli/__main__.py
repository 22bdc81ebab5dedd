"""``python -m lightning_diag.cli``."""

import sys

from lightning_diag.cli import main

sys.exit(main())
