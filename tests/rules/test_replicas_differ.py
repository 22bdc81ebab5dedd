from collections.abc import Callable

import numpy as np

from lightning_diag.probes.readings import Part
from lightning_diag.probes.samples import fingerprints, replica_differences
from lightning_diag.records import History
from tests.rules.histories import falling_loss, history, judged, unmeasured


def made(apart: Callable[[int, int], float], **run: object) -> History:
    facts = {"world_size": 2, "strategy": "DDPStrategy", **run}
    return history(falling_loss(), tables={"parameter/replica_difference": apart}, **facts)


def test_sick() -> None:
    found = judged(made(lambda step, j: 0.2 if j == 2 and step >= 64 else 0.0), "replicas-differ")
    (finding,) = found
    assert finding.severity == "error"
    assert (finding.step, finding.site) == (64, "net.2.weight")
    assert "20 %" in finding.message


def test_a_little_apart_is_a_warning() -> None:
    (finding,) = judged(made(lambda step, j: 1e-3 if j == 0 else 0.0), "replicas-differ")
    assert finding.severity == "warning"


def test_healthy() -> None:
    assert judged(made(lambda step, j: 0.0), "replicas-differ") == []


def test_a_passing_difference_is_none() -> None:
    assert judged(made(lambda step, j: 0.1 if step < 8 else 0.0), "replicas-differ") == []


def test_absent() -> None:
    assert "one process" in unmeasured(history(falling_loss()), "replicas-differ")
    assert "ModelParallel" in unmeasured(made(lambda s, j: 1.0, strategy="ModelParallelStrategy"), "replicas-differ")
    nothing = history(falling_loss(), world_size=2, strategy="DDPStrategy")
    assert "needed" in unmeasured(nothing, "replicas-differ")


def part(mean: float, std: float, *, sharded: bool = False) -> Part:
    row = np.array([mean, std, 0.0, 1.0, 0.0, 0.0])
    own = Part(moments={("parameter", "w"): row, ("gradient", "w"): row}, sharded={"w": 4} if sharded else {})
    return Part(scalars=fingerprints(own))


def test_how_far_replicas_are_apart() -> None:
    parts = [part(0.0, 1.0), part(0.0, 1.25), part(0.1, 1.0)]
    assert replica_differences(parts) == {"w": 0.25 / 1.25}
    assert all(not p.scalars for p in parts)
    assert replica_differences([part(0.3, 1.0), part(0.3, 1.0)]) == {"w": 0.0}
    assert replica_differences([part(0.0, 0.0), part(0.0, 0.0)]) == {"w": 0.0}


def test_what_is_split_over_ranks_is_not_compared() -> None:
    assert replica_differences([part(0.0, 1.0, sharded=True), part(0.5, 1.0, sharded=True)]) == {}
