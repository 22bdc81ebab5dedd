"""Whatever form a model has, looking at it changes nothing, and it is seen."""

from pathlib import Path

import numpy as np
import pytest

from lightning_diag import Diagnostics
from tests.zoo import CASES, Case
from tests.zoo.compare import differences, faults

ROWS = [pytest.param(c, id=c.name, marks=[pytest.mark.full] if c.full else []) for c in CASES]


@pytest.mark.parametrize("case", ROWS)
def test_no_form_of_a_model_is_disturbed(case: Case, tmp_path: Path) -> None:
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    assert [*differences(case, tmp_path, diagnostics), *faults(diagnostics)] == []
    history = diagnostics.history
    assert len(history) >= 3
    sites = [layer.site for layer in history.layers]
    for prefix in case.layers:
        assert any(site.startswith(prefix) for site in sites), f"{prefix} not among {sites}"
    if case.layers:
        assert np.isfinite(history.table("activation/rms").matrix).any()
        assert np.isfinite(history.table("activation_gradient/rms").matrix).any()
