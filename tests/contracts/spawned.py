"""A fit in two spawned processes: ``python -m tests.contracts.spawned DIRECTORY STRATEGY``; says what came back."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import lightning as L

from lightning_diag import Diagnostics
from tests.contracts.setups import QUIET, Small

if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    place, start = Path(sys.argv[1]), sys.argv[2]
    tempfile.tempdir = str(place)
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    options = {**QUIET, "strategy": f"ddp_{start}", "devices": 2, "default_root_dir": str(place)}
    L.Trainer(**options, callbacks=[diagnostics]).fit(Small())
    facts = {
        "samples": len(diagnostics.history),
        "outcomes": {name: str(outcome) for name, outcome in diagnostics.report.outcomes.items()},
        **{key: diagnostics.history.run[key] for key in ("steps", "status", "world_size")},
        "left": [p.name for p in place.glob("lightning_diag-*")],
    }
    (place / f"{start}.json").write_text(json.dumps(facts))
