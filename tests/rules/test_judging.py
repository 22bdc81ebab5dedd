import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lightning_diag import rules
from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History, Layer
from lightning_diag.rules import RULES, TRIPWIRES, Unmeasured, check, resolve, rule_infos
from lightning_diag.rules.rule import HEADINGS
from tests.rules.histories import falling_loss, flat_loss, history


@dataclass(frozen=True)
class Always:
    """Finds something at every site it is told."""

    code: ClassVar[str] = "X001"
    name: ClassVar[str] = "always"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    sites: tuple[str, ...] = ("backbone.0", "head")

    def check(self, history):
        for site in self.sites:
            yield Finding("X001", "always", Severity.WARNING, site, 0, 1.0, 0.0, "It is so.", 0)


class Crashes(Always):
    """Crashes."""

    code = "X002"
    name = "crashes"

    def check(self, history):
        yield from ()
        raise RuntimeError("broken rule")


class Declines(Always):
    """Sees too little."""

    code = "X003"
    name = "declines"

    def check(self, history):
        raise Unmeasured("too little")


MADE = history(flat_loss())


def test_outcomes_are_told_apart():
    report = check(MADE, rules=(Always, Crashes, Declines, Always(sites=())))
    assert report.outcomes["crashes"] == "crashed"
    assert "broken rule" in report.outcomes["crashes"].reason
    assert report.outcomes["declines"] == "unmeasured"
    assert report.outcomes["declines"].reason == "too little"
    assert report.outcomes["always"] == "clean"  # the last of that name
    assert not report.ok
    assert report.exit_code() == 2


def test_needs_that_are_not_there_are_unmeasured_not_clean():
    report = check(History(), rules=(Always,))
    assert report.outcomes["always"] == "unmeasured"
    assert "loss" in report.outcomes["always"].reason
    empty = check(History())
    assert {o.verdict for o in empty.outcomes.values()} == {"unmeasured"}
    assert empty.exit_code() == 2


def test_instances_carry_parameters():
    assert [f.site for f in check(MADE, rules=(Always(sites=("a",)),)).findings] == ["a"]


def test_ignore_everywhere_and_by_site():
    pair = (Always, Declines)
    assert list(check(MADE, ignore=["X001"], rules=pair).outcomes) == ["declines"]
    kept = check(MADE, ignore={"backbone.*": ["X"], "nowhere": "always"}, rules=pair)
    assert [f.site for f in kept.findings] == ["head"]
    assert kept.outcomes["always"] == "found"
    assert list(check(MADE, ignore={"*": "always"}, rules=pair).outcomes) == ["declines"]  # everywhere: not asked
    none = check(MADE, ignore={"?*": "always"}, rules=pair)
    assert none.outcomes["always"] == "clean"
    assert "2 finding(s) ignored" in none.outcomes["always"].reason


def test_select():
    assert list(check(MADE, select=["G00", "overfitting"]).outcomes) == [
        *(r.name for r in RULES if r.code.startswith("G")), "overfitting",
    ]  # fmt: skip
    assert list(check(MADE, select=["A001", "L001"], rules=TRIPWIRES).outcomes) == ["non-finite-loss"]
    assert check(MADE, select=["A001"], rules=TRIPWIRES).outcomes == {}


def test_resolve():
    assert resolve(["G", "dead-units"]) == ("A001", *(r.code for r in RULES if r.code.startswith("G")))
    assert resolve([]) == ()
    with pytest.raises(ValueError, match="did you mean 'dead-units'"):
        resolve("dead-unit")
    with pytest.raises(ValueError, match="A001 dead-units"):
        check(MADE, ignore=["qqqq"])
    with pytest.raises(ValueError, match="no rule ''"):
        resolve("")
    with pytest.raises(TypeError, match="got 3"):
        resolve([3])  # type: ignore[list-item]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_every_rule_explains_itself(rule):
    info = rule_infos()[rule.code]
    assert [h for h in HEADINGS if f"\n{h}:\n" not in info.help] == []
    positions = [info.help.index(f"\n{h}:\n") for h in HEADINGS]
    assert positions == sorted(positions)
    assert info.summary.endswith(".")
    assert "\n" not in info.summary
    assert len(info.summary) < 100
    assert issubclass(rule, object)
    assert rule.__dataclass_params__.frozen
    assert getattr(rule, "__final__", sys.version_info < (3, 11))


def test_table_and_folder_agree():
    files = {p.stem for p in Path(rules.__file__).parent.glob("*.py")}
    assert {r.name.replace("-", "_") for r in RULES} <= files
    for r in RULES:
        assert r.__module__.endswith("." + r.name.replace("-", "_"))
        assert (Path(__file__).parent / f"test_{r.name.replace('-', '_')}.py").exists()
    assert set(TRIPWIRES) < set(RULES)
    assert len({r.code for r in RULES}) == len({r.name for r in RULES}) == len(RULES)


def test_report_repeats_facts():
    report = check(history(falling_loss(), tables={"total/gradient_norm": lambda s, j: 1.0}, run_id="x"))
    assert report.run["run_id"] == "x"
    assert report.run["samples"] == 15
    assert report.run["steps"] == 400


def test_a_stored_history_is_judged_alike():
    made = history(flat_loss(), tables={"total/gradient_norm": lambda s, j: 1.0 + s})
    again = History.from_lines(made.lines())
    assert check(again).findings == check(made).findings


def test_prescriptions_survive_json():
    report = check(MADE)
    assert type(report).from_json(report.to_json()) == report
    assert all(isinstance(p, Prescription) for f in report.findings for p in f.prescriptions)


def big_history(depth=50, samples=1000):
    rng = np.random.default_rng(0)
    made = History()
    layers = [Layer(f"n.{2 * i}", "Linear", units=64, parameters=(f"n.{2 * i}.weight",)) for i in range(depth)]
    layers += [Layer(f"n.{2 * i + 1}", "Tanh", activation="tanh", units=64) for i in range(depth)]
    made.set_layers(layers)
    sites = [x.site for x in layers]
    made.set_sites("activation", sites)
    made.set_sites("activation_gradient", sites)
    weights = [p for x in layers for p in x.parameters]
    for family in ("gradient", "parameter", "update"):
        made.set_sites(family, weights)
    made.set_sites("total", [""])
    names = ["nonfinite", "nan", "input_nonfinite", "dead_fraction", "silent_fraction", "saturated_units_fraction"]
    for step in range(samples):
        row = {f"activation/{n}": np.zeros(2 * depth) for n in names}
        row |= {f"activation/{n}": rng.random(2 * depth) for n in ("std", "rms")}
        row["activation_gradient/rms"] = rng.random(2 * depth)
        row |= {f"{f}/rms": rng.random(depth) for f in ("gradient", "parameter", "update")}
        row |= {"update/ratio": rng.random(depth) * 1e-3, "gradient/nonfinite": np.zeros(depth)}
        row["total/gradient_norm"] = rng.random(1)
        made.add_sample(step * 10, 0, row)
    made.add_points("loss", range(16_000), falling_loss(16_000))
    return made


def test_fast_on_100_layers_and_1000_samples():
    made = big_history()
    check(made)
    start = time.process_time()
    assert check(made).count("crashed") == 0
    assert time.process_time() - start < 1.0
