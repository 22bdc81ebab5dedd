"""Diagnostics reads the configuration file; what its constructor says wins."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from lightning_diag import Diagnostics
from lightning_diag.callbacks.asked import Asked
from lightning_diag.callbacks.judgement import Judgement
from lightning_diag.config import ConfigError
from lightning_diag.rules import RULES
from lightning_diag.rules.dead_units import DeadUnits
from lightning_diag.rules.exploding_gradients import ExplodingGradients
from tests.callbacks.fits import fit
from tests.histories import sick

FILE = """
[tool.lightning-diag]
select = ["A", "L001"]
ignore = ["A004"]
fail-on = "info"
per-site-ignores = { "net.*" = ["A001"] }
[tool.lightning-diag.rules]
dead-units = { max_dead_fraction = 0.6 }
exploding-gradients = { min_jump_decades = 2.5 }
"""
FITS = Path(__file__).with_name("fits.py")
IGNORES = {"net.*": ("A001",), "*": ("A004",)}


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pyproject.toml"
    path.write_text(FILE)
    return path


def limit(diagnostics: Diagnostics) -> float:
    rule = diagnostics.asked.rules[0]
    return (rule() if isinstance(rule, type) else rule).max_dead_fraction  # type: ignore[attr-defined, no-any-return]


def test_what_is_not_given_comes_from_the_file() -> None:
    found = Diagnostics()
    assert (found.select, found.ignore, limit(found)) == (("A", "L001"), IGNORES, 0.6)
    assert found.fail_on is None  # the gate's setting: a training does not raise because of it


def test_what_is_given_wins_one_by_one() -> None:
    assert Diagnostics(select=["G"]).select == ["G"]
    assert Diagnostics(select=["G"]).ignore == IGNORES
    assert Diagnostics(ignore=["V"]).ignore == ["V"]
    assert limit(Diagnostics(limits={})) == DeadUnits().max_dead_fraction
    assert limit(Diagnostics(limits={"A001": {"max_dead_fraction": 0.7}})) == 0.7


def test_without_config_the_file_is_not_read(configured: Path) -> None:
    configured.write_text("[tool.lightning-diag]\nselekt = 3")
    found = Diagnostics(config=False)
    assert (found.select, found.ignore, found.asked.rules) == ((), (), RULES)
    with pytest.raises(ConfigError, match="did you mean 'select'"):
        Diagnostics()


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"dead-unit": {}}, ValueError),
        ({"dead-units": {"max_dead": 0.5}}, ValueError),
        ({"dead-units": {"max_dead_fraction": "x"}}, TypeError),
    ],
)
def test_wrong_limits_are_refused_at_once(limits: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="dead-unit"):
        Diagnostics(limits=limits)


def test_limits_hold_at_every_sample_and_for_the_tripwires() -> None:
    asked = Diagnostics().asked
    assert ExplodingGradients(min_jump_decades=2.5) in asked.tripwires
    judgement = Judgement(sick(), Asked(rules=asked.rules))
    assert [f.code for f in judgement.trip()] == ["L001"]
    assert [f.code for f in judgement.judge().findings] == ["L001"]
    assert Judgement(sick(), Asked(ignore=["L001"])).trip() == []


@pytest.mark.parametrize(("often", "judged"), [(False, [8, 11, 15]), (True, [8, 11, 14])])
def test_judging_waits_where_it_has_had_its_share_of_the_time(often: bool, judged: list[int]) -> None:
    now = [0.0]

    def clock() -> float:  # judging takes 0.15 s
        now[0] += 0.15
        return now[0]

    judgement, found = Judgement(sick(), often=often, clock=clock), []
    for sample in range(1, 16):
        if sample == 15:
            now[0] += 100.0  # a long time of training
        if judgement.due("sample", sample):
            judgement.judge()
            found.append(sample)
    assert found == judged


def test_a_fit_is_judged_as_the_file_says(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False)
    fit(tmp_path, diagnostics)
    rules = set(diagnostics.report.rules)
    assert "A001" in rules
    assert "L001" in rules
    assert not {"A004", "G001"} & rules


def test_it_is_pickled_with_its_settings() -> None:
    again = pickle.loads(pickle.dumps(Diagnostics()))
    assert again.asked == Diagnostics().asked


def test_layers_know_where_the_user_makes_them(tmp_path: Path) -> None:
    diagnostics = Diagnostics(verbose=False, config=False)
    fit(tmp_path, diagnostics)
    found = {layer.site: layer.source for layer in diagnostics.history.layers}
    line = next(i for i, text in enumerate(FITS.read_text().splitlines(), 1) if "self.net = nn.Sequential(" in text)
    assert {site: source for site, source in found.items() if site.startswith("net.")} == {
        f"net.{i}": f"{FITS.as_posix()}:{line}" for i in range(5)
    }
    assert diagnostics.history.run["source"].startswith(f"{FITS.as_posix()}:")
