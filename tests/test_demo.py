"""The demo is the main job: it must judge a sick network sick and its twin healthy, and say how to look at both."""

import logging
import sys
from pathlib import Path

import pytest

from lightning_diag import Report, demo


@pytest.fixture(autouse=True)
def _quiet():
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.mark.parametrize("start", sorted(demo.STARTS))
@pytest.mark.parametrize("options", [["--quick"], pytest.param([], marks=pytest.mark.full)], ids=["quick", "whole"])
def test_demo(start: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "my logs"
    assert demo.main(["--start", start, "--log-dir", str(logs), *options]) == 0
    printed = capsys.readouterr().out
    assert f"tensorboard --logdir '{logs}'" in printed
    assert printed.count("epoch  1/") == 2
    sick, twin = (Report.load(next((logs / name).rglob("health.json"))) for name in ("sick", "twin"))
    assert not sick.ok
    assert sick.primary is not None
    assert sick.primary.code in printed
    assert twin.ok
    assert list((logs / "sick").rglob("events.out.tfevents*")), "TensorBoard has something to show"


def test_missing_scikit_learn_is_said_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.chdir(tmp_path)
    assert demo.main([]) == 2
    assert 'pip install "lightning-diag[examples]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_start_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        demo.main(["--start", "lukewarm"])
    assert caught.value.code == 2
    assert "hot" in capsys.readouterr().err
