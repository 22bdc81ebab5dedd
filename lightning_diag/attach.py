"""Diagnostics on every Trainer without touching the code: ``LIGHTNING_DIAG=1 python train.py``.

Lightning calls :func:`callbacks` for every Trainer of the environment (entry points ``callbacks_factory`` of both
package names). Without the variable it returns nothing and imports nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from typing import Any

VARIABLE = "LIGHTNING_DIAG"
_OFF = ("", "0", "false", "no", "off")


def callbacks() -> list[Any]:
    """Return one Diagnostics if ``LIGHTNING_DIAG`` asks for it, else nothing.

    It stands aside where the user has a Diagnostics of their own. A broken install or configuration is told by a
    warning and gives nothing: it never breaks a Trainer.
    """
    if os.environ.get(VARIABLE, "").strip().lower() in _OFF:
        return []
    try:
        diagnostics = importlib.import_module("lightning_diag.callbacks.diagnostics").Diagnostics()
        diagnostics.automatic = True
    except Exception as error:  # whatever is broken here, the training is not
        with contextlib.suppress(UserWarning):  # where warnings are errors, too
            warnings.warn(f"{VARIABLE} is set, but Diagnostics cannot be attached: {error!r}", stacklevel=2)
        return []
    return [diagnostics]
