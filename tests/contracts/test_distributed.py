"""Two processes: what they see together is what one process would have seen, and neither ever waits for the other."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_diag.callbacks.outlets import Outlets
from lightning_diag.findings import Report
from lightning_diag.records import History
from tests.contracts.setups import run, watch
from tests.contracts.two_ranks import SMALL, UNEVEN, Plain

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
ROOT = Path(__file__).parents[2]
LIMIT = 120  # seconds after which a run counts as hanging
OWN = (
    "sample_std",
    "effective_rank",
    "replica_difference",
)  # of ranks, not of their union
EXACT = ("zero_fraction", "nonfinite", "nan", "input_nonfinite", "silent_fraction")


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def launch(root: Path, *scenarios: str, module: str = "tests.contracts.two_ranks") -> subprocess.CompletedProcess[str]:
    """Run scenarios on two ranks that Lightning launches; a hang fails."""
    return subprocess.run(
        [sys.executable, "-m", module, str(root), *scenarios],
        cwd=ROOT, env=ENVIRONMENT, timeout=LIMIT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def launch_side_by_side(root: Path, *scenarios: str) -> None:
    """The same, both ranks started at once (the launcher starts the second when the first has imported all)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.contracts.two_ranks", str(root), *scenarios],
            cwd=ROOT, env={**ENVIRONMENT, **address, "LOCAL_RANK": str(rank)}, text=True, stderr=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        for rank in ranks:
            _, errors = rank.communicate(timeout=LIMIT)
            assert rank.returncode == 0, errors[-3000:]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


class Seen:
    """What a rank left of a scenario."""

    def __init__(self, root: Path, rank: int, name: str) -> None:
        place = root / f"rank-{rank}"
        self.history = History.load(place / f"{name}.jsonl")
        self.report = Report.load(place / f"{name}.json")
        self.facts: dict[str, Any] = json.loads((place / f"{name}.facts.json").read_text())


QUICK = ("plain", "accumulation", "uneven", "sick", "nothing on one rank", "broken probe", "broken start")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("two-ranks")
    launch_side_by_side(place, *QUICK, "replicas apart")
    return place


def verdicts(report: Report) -> dict[str, str]:
    return {name: outcome.verdict for name, outcome in report.outcomes.items()}


def both(root: Path, name: str) -> tuple[Seen, Seen]:
    return Seen(root, 0, name), Seen(root, 1, name)


def assert_same(a: History, b: History, *, families: tuple[str, ...] = (), samples: slice = slice(None)) -> None:
    """All statistics agree as far as sums in another order do; counts and shares agree exactly."""
    assert set(a.statistics) - {"parameter/replica_difference"} == set(b.statistics)
    checked = 0
    for name in a.statistics:
        family, _, kind = name.partition("/")
        if (families and family not in families) or kind in OWN:
            continue
        one, two = a.table(name), b.table(name)
        assert one.sites == two.sites, name
        x, y = one.matrix[samples], two.matrix[samples]
        scale = 1e-4 * np.nanmax(np.abs(y), initial=1e-6)
        np.testing.assert_allclose(
            x, y, rtol=0 if kind in EXACT else 2e-3, atol=0 if kind in EXACT else scale, err_msg=name
        )
        checked += 1
    assert checked > 10


def test_two_ranks_see_what_one_process_sees(root: Path, tmp_path: Path) -> None:
    whole = run(tmp_path, watch(), model=Plain, num_sanity_val_steps=0).history
    for seen in both(root, "plain"):
        assert seen.history.steps.tolist() == whole.steps.tolist()
        assert_same(seen.history, whole)
        loss, expected = seen.history.series("loss"), whole.series("loss")
        assert loss.steps.tolist() == expected.steps.tolist()
        np.testing.assert_allclose(loss.values, expected.values, rtol=1e-4)
    assert np.nanmax(whole.table("activation/silent_fraction").matrix) > 0


def test_batches_of_different_length(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At step 0, where weights are the same, all that is seen is that of the union; histograms add up."""
    drawn: list[dict[str, Any]] = []
    keep = Outlets.sample

    def sample(self: Outlets, step: int, fetched: Any) -> None:
        bins = {f"{f}/{s}": h.counts.tolist() for f, x in fetched.histograms.items() for s, h in x.items()}
        drawn.append(bins)
        keep(self, step, fetched)

    monkeypatch.setattr(Outlets, "sample", sample)
    whole = run(tmp_path, watch(), model=lambda: Plain(batches=UNEVEN), num_sanity_val_steps=0).history
    for seen in both(root, "uneven"):
        assert_same(seen.history, whole, families=("activation", "batch", "parameter"), samples=slice(1))
        for site, counts in drawn[0].items():
            if site.startswith("activation/"):
                np.testing.assert_array_equal(seen.facts["histograms"][0][site], counts, err_msg=site)


@pytest.mark.parametrize("name", QUICK)
def test_both_ranks_say_the_same_and_leave_nothing(name: str, root: Path) -> None:
    a, b = both(root, name)
    assert [f.key for f in a.report.findings] == [f.key for f in b.report.findings]
    if name != "broken start":  # the broken rank judges nothing
        assert verdicts(a.report) == verdicts(b.report)
    assert a.history.steps.tolist() == b.history.steps.tolist()
    assert a.facts["steps"] == b.facts["steps"] > 0
    assert a.facts["weights"] == b.facts["weights"]
    assert a.facts["leftovers"] == b.facts["leftovers"] == []
    crashed = [k for k, o in a.report.outcomes.items() if o == "crashed"]
    assert crashed == (["diagnostics"] if name.startswith("broken") else [])


def test_sick_is_sick_on_both(root: Path) -> None:
    assert both(root, "sick")[1].report.findings


def test_only_rank_0_writes(root: Path) -> None:
    for name in QUICK:
        assert sorted(p.name for p in (root / name).rglob("*.json*")) == ["health.json", "history.jsonl"]


@pytest.mark.parametrize("name", ["plain", "accumulation", "uneven"])
def test_one_collective_a_sampled_step(name: str, root: Path) -> None:
    for seen in both(root, name):
        sampled, calls = seen.history.steps.tolist(), seen.facts["collectives"]
        assert {int(step) for step in calls} == set(sampled)
        later = [calls[str(step)] for step in sampled[2:]]  # at first, room is made for the names
        assert later == [1] * len(later) and len(later)


def test_accumulation(root: Path, tmp_path: Path) -> None:
    """The last micro-batch is observed on both ranks; the loss is the mean of all micro-batches."""
    options = {"num_sanity_val_steps": 0, "accumulate_grad_batches": 2}
    whole = run(tmp_path, watch(), model=lambda: Plain(batches=SMALL), **options).history
    seen = Seen(root, 0, "accumulation").history
    assert seen.series("loss").steps.tolist() == whole.series("loss").steps.tolist()
    assert_same(seen, whole)


def test_a_rank_without_sites(root: Path) -> None:
    a, b = both(root, "nothing on one rank")
    for seen in (a, b):
        assert "net.0" in seen.history.table("activation/rms").sites
        assert len(seen.history.series("loss").steps) == a.facts["steps"]


def test_replicas_that_differ_are_told_by_all_ranks(root: Path) -> None:
    for seen in both(root, "replicas apart"):
        found = [f for f in seen.report.findings if f.code == "S001"]
        assert found[0].site == "net.0.weight" and found[0].step == 0 and found[0].severity == "error"
        assert seen.report.primary is not None and seen.report.primary.code == "S001"


@pytest.mark.parametrize("name", ["plain", "accumulation", "uneven"])
def test_replicas_that_are_the_same_are_exactly_the_same(name: str, root: Path) -> None:
    for seen in both(root, name):
        assert seen.report.outcomes["replicas-differ"] == "clean"
        apart = seen.history.table("parameter/replica_difference")
        assert apart.sites and (apart.matrix == 0).all()


@pytest.mark.parametrize("name", ["broken probe", "broken start"])
def test_the_failure_of_one_rank_is_known_to_all(name: str, root: Path) -> None:
    for seen in both(root, name):
        assert "our own fault on one rank" in seen.report.outcomes["diagnostics"].reason
        assert seen.report.exit_code() == 2
        assert seen.facts["steps"] == Seen(root, 0, "plain").facts["steps"]
        assert seen.facts["weights"] == Seen(root, 0, "plain").facts["weights"]


@pytest.mark.full
def test_the_users_failure_on_one_rank_hangs_nothing(tmp_path: Path) -> None:
    start = time.perf_counter()
    done = launch(tmp_path, "the user's failure")
    assert done.returncode != 0
    assert time.perf_counter() - start < LIMIT
    assert "the user's fault on one rank" in done.stderr


def fit_in_a_fork(root: Path) -> None:
    """Fit in a forked process and look at the callback of this one."""
    diagnostics = watch()
    child = multiprocessing.get_context("fork").Process(target=run, args=(root, diagnostics))
    child.start()
    child.join(LIMIT)
    assert child.exitcode == 0
    assert len(diagnostics.history) > 5
    assert diagnostics.report.ok
    assert diagnostics.history.run["status"] == "finished"
    assert list(Path(tempfile.gettempdir()).glob(f"{Path(diagnostics._mailbox.place).name}*")) == []


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_fit_in_another_process_reports_to_this_one(tmp_path: Path) -> None:
    """In a fresh process, because torch does not fork once a test before has run a backward pass in threads."""
    code = f"from pathlib import Path; from {__name__} import fit_in_a_fork; fit_in_a_fork(Path({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=ENVIRONMENT,
        timeout=LIMIT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.full
def test_spawned_processes_report_to_the_main_one(tmp_path: Path) -> None:
    done = launch(tmp_path, "spawn", module="tests.contracts.spawned")
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads((tmp_path / "spawn.json").read_text())
    assert facts["samples"] == facts["steps"] == 8
    assert facts["outcomes"]["non-finite-loss"] == "clean"
    assert facts["status"] == "finished" and facts["world_size"] == 2
    assert facts["left"] == []
    assert len(list(tmp_path.rglob("health.json"))) == 1


@pytest.mark.full
def test_sharded_parameters(tmp_path: Path) -> None:
    """FSDP2: gradients and parameters are those of the whole, not of a shard."""
    done = launch(tmp_path, "sharded")
    assert done.returncode == 0, done.stderr[-3000:]
    whole = run(tmp_path, watch(), model=Plain, num_sanity_val_steps=0).history
    for seen in both(tmp_path, "sharded"):
        assert seen.history.steps.tolist() == whole.steps.tolist()
        assert_same(seen.history, whole)
        assert seen.facts["leftovers"] == []
