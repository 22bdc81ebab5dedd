"""The generated pages are up to date, and what the documentation points at exists."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lightning_diag import cli
from lightning_diag.checking import Checker
from lightning_diag.config import load
from lightning_diag.rules import rule_infos

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/strategies.md", "docs/ci.md")
PAGES = [ROOT / name for name in NAMES]


@pytest.fixture
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path: Path, generate: ModuleType) -> Path:
    """A folder with up-to-date pages."""
    (tmp_path / "README.md").write_text(f"above\n{generate.BEGIN}\nold\n{generate.END}\nbelow\n")
    generate.write(tmp_path)
    return tmp_path


def test_the_committed_pages_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_every_rule_has_a_row_and_a_page(copy: Path, generate: ModuleType) -> None:
    readme = (copy / "README.md").read_text()
    assert readme.startswith("above\n")
    assert readme.endswith("\nbelow\n")
    assert "\nold\n" not in readme
    for rule in rule_infos().values():
        assert f"(docs/rules/{generate.page_name(rule)})" in readme
        assert (copy / "docs" / "rules" / generate.page_name(rule)).read_text().startswith(f"# {rule.code} {rule.name}")


def test_a_changed_a_missing_and_an_orphaned_page_are_stale(copy: Path, generate: ModuleType) -> None:
    assert generate.stale(copy) == []
    changed, missing, *_ = sorted((copy / "docs" / "rules").glob("*.md"))
    orphan = copy / "docs" / "rules" / "X999-gone.md"
    changed.write_text("by hand")
    missing.unlink()
    orphan.write_text("")
    assert set(generate.stale(copy)) == {changed, missing, orphan}
    generate.write(copy)
    assert generate.stale(copy) == []
    assert not orphan.exists()


def test_a_page_shows_the_picture_of_its_rule(copy: Path, generate: ModuleType) -> None:
    rule = rule_infos()["A001"]
    page, picture = copy / "docs" / "rules" / generate.page_name(rule), copy / generate.PICTURES / "A001-dead-units.svg"
    assert "![" not in page.read_text()
    picture.parent.mkdir(parents=True)
    picture.write_text('<svg xmlns="http://www.w3.org/2000/svg"><desc>one &lt; two</desc></svg>')
    assert generate.stale(copy) == [page]
    generate.write(copy)
    shown = (
        f"# A001 dead-units\n\n{rule.summary}\n\n![sick and mended](images/{picture.name})\n\none < two\n\n## What it"
    )
    assert page.read_text().startswith(shown)
    assert generate.stale(copy) == []
    picture.unlink()
    assert generate.stale(copy) == [page]  # it shows what is not there


def test_an_orphaned_and_a_broken_picture_are_told(copy: Path, generate: ModuleType) -> None:
    orphan = copy / generate.PICTURES / "X999-gone.svg"
    orphan.parent.mkdir(parents=True)
    orphan.write_text("<svg/>")
    assert generate.stale(copy) == [orphan]
    generate.write(copy)
    assert generate.stale(copy) == [] and not orphan.exists()
    picture = orphan.with_name("A001-dead-units.svg")
    for text, why in (("<svg>", "not well-formed"), ('<svg xmlns="http://www.w3.org/2000/svg"/>', "no <desc>")):
        picture.write_text(text)
        with pytest.raises(ValueError, match=why):
            generate.stale(copy)


def test_a_readme_without_markers_is_an_error(tmp_path: Path, generate: ModuleType) -> None:
    (tmp_path / "README.md").write_text("nothing here")
    with pytest.raises(ValueError, match="rules:begin"):
        generate.stale(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_command_in_the_page_on_pipelines_exists(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The commands are run on runs that are not there: 2 and a message on the run, not on the usage."""
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL))
    commands = re.findall(r"lightning-diag ((?:check|compare|report) [^#&|'\n]*)", blocks)
    assert len(commands) == 7
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert cli.main([*command.split(), "--no-config"]) == 2
        err = capsys.readouterr().err
        assert "usage:" not in err
        assert "cannot read" in err or "no history.jsonl" in err or "no baseline" in err, command


def test_the_settings_in_the_page_on_pipelines_are_real(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(toml, encoding="utf-8")
    settings = load(tmp_path, environ={})
    Checker(settings)
    assert settings.rules == {"dead-units": {"max_dead_fraction": 0.6}}
