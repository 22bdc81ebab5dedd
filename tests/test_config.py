"""Settings: where they come from, which wins, what is refused and how."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from lightning_diag.config import ConfigError, Settings, load, split

WHOLE = """
[tool.lightning-diag]
select = ["A", "G001"]
ignore = "V, H"
require = ["L001"]
fail-on = "warning"
baseline = "known.json"
format = ["full", "junit:out.xml"]

[tool.lightning-diag.per-site-ignores]
"backbone.*" = ["A001"]
"*" = ["A002"]

[tool.lightning-diag.rules]
dead-units = { max_dead_fraction = 0.6 }
"""


def write(directory: Path, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_all_is_default(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert load(tmp_path, environ={}) == Settings()


def test_every_setting_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    assert load(tmp_path, environ={}) == Settings(
        select=("A", "G001"),
        ignore=("V", "H"),
        per_site_ignores={"backbone.*": ("A001",), "*": ("A002",)},
        rules={"dead-units": {"max_dead_fraction": 0.6}},
        require=("L001",),
        fail_on="warning",
        baseline=str(tmp_path / "known.json"),
        format=("full", "junit:out.xml"),
        file=path,
    )


def test_ignores_come_together() -> None:
    assert Settings(ignore=("V",)).ignores == ("V",)
    both = Settings(ignore=("V",), per_site_ignores={"a.*": ("A",), "*": ("G",)})
    assert both.ignores == {"a.*": ("A",), "*": ("G", "V")}


def test_the_nearest_file_with_a_table_is_taken(tmp_path: Path) -> None:
    write(tmp_path, '[tool.lightning-diag]\nselect = ["A"]')
    write(tmp_path / "a", "[tool.ruff]\nline-length = 3")
    (tmp_path / "a" / "b").mkdir()
    assert load(tmp_path / "a" / "b", environ={}).select == ("A",)
    write(tmp_path / "a", '[tool.lightning-diag]\nselect = ["B"]')
    assert load(tmp_path / "a" / "b", environ={}).select == ("B",)


def test_the_search_ends_at_the_root_of_the_repository(tmp_path: Path) -> None:
    write(tmp_path, '[tool.lightning-diag]\nselect = ["A"]')
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "src").mkdir()
    assert load(tmp_path / "repo" / "src", environ={}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)
    environ = {
        "LIGHTNING_DIAG": "1",  # is another thing
        "LIGHTNING_DIAG_SELECT": "W,O001",
        "LIGHTNING_DIAG_FAIL_ON": "info",
        "LIGHTNING_DIAG_BASELINE": "here.json",
        "LIGHTNING_DIAG_IGNORE": "",
    }
    settings = load(tmp_path, environ=environ)
    assert (settings.select, settings.fail_on, settings.baseline) == (("W", "O001"), "info", "here.json")
    assert settings.ignore == ("V", "H")  # an empty variable states nothing


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_file_can_be_named(tmp_path: Path, by: str) -> None:
    path = write(tmp_path / "x", '[tool.lightning-diag]\nselect = ["A"]')
    environ = {"LIGHTNING_DIAG_CONFIG": str(path)} if by == "environment" else {}
    assert load(tmp_path, file=path if by == "argument" else None, environ=environ).select == ("A",)


WRONG = {
    "[tool.lightning-diag]\nselekt = []": "no setting 'selekt'; did you mean 'select'?",
    "[tool.lightning-diag]\nfail_on = 'error'": "no setting 'fail_on'; did you mean 'fail-on'?",
    "[tool.lightning-diag]\nxyz = 1": "no setting 'xyz'; allowed are select, ignore, per-site-ignores",
    "[tool.lightning-diag]\nselect = 3": "tool.lightning-diag.select must be a list of texts, got 3",
    "[tool.lightning-diag]\nselect = [3]": r"must be a list of texts, got \[3\]",
    "[tool.lightning-diag]\nfail-on = 'never'": "severity 'never' is none of info, warning, error",
    "[tool.lightning-diag]\nfail-on = 3": "fail-on must be text, got 3",
    "[tool.lightning-diag]\nbaseline = []": r"baseline must be text, got \[\]",
    "[tool.lightning-diag]\nrules = []": r"rules must be a table, got \[\]",
    "[tool.lightning-diag.rules]\ndead-units = 3": "rules.dead-units must be a table, got 3",
    "[tool.lightning-diag.per-site-ignores]\n'a.*' = 3": r"per-site-ignores.a.\* must be a list of texts",
    "[tool]\nlightning-diag = 3": "tool.lightning-diag must be a table, got 3",
    "[tool.lightning-diag]\nselect = [": "is no TOML",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError, match=WRONG[text]):
        load(tmp_path, environ={})


def test_a_broken_file_of_somebody_else_is_their_trouble(tmp_path: Path) -> None:
    write(tmp_path, "[tool.ruff\n\x00")
    (tmp_path / ".git").mkdir()
    assert load(tmp_path, environ={}) == Settings()


@pytest.mark.parametrize(("text", "message"), [("[tool.ruff]", "has no table"), (None, "cannot read")])
def test_a_named_file_must_have_the_table(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "pyproject.toml" if text is None else write(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        load(file=path, environ={})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("LIGHTNING_DIAG_SELEKT", "A", "LIGHTNING_DIAG_SELEKT is no setting; allowed are LIGHTNING_DIAG_SELECT"),
        ("LIGHTNING_DIAG_FAIL_ON", "never", "LIGHTNING_DIAG_FAIL_ON: severity 'never'"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, environ={variable: value})


@given(
    parts=st.lists(
        st.text(st.characters(exclude_characters=", \t\n\r\x0b\x0c", exclude_categories=["Z", "C"]), min_size=1)
    )
)
def test_split_undoes_join(parts: list[str]) -> None:
    assert split(", ".join(parts)) == tuple(parts)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    path.chmod(0)
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path, environ={})
