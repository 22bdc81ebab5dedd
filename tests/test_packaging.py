"""What is shipped: a light root, the right files, honest version bounds, nothing of the machine it was made on."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import lightning_diag

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "torchmetrics", "torchvision", "lightning", "pytorch_lightning")
DOORS = (
    "lightning_diag", "lightning_diag.cli", "lightning_diag.rules", "lightning_diag.sinks", "lightning_diag.testing",
    "lightning_diag.pytest_plugin", "lightning_diag.pytest_checks", "lightning_diag.attach", "lightning_diag.checking",
    "lightning_diag.comparison",
)  # fmt: skip


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def pins(name: str) -> dict[str, str]:
    """Package -> version pinned (the last one where markers give several)."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9_.-]+)==([^\s;]+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("module", DOORS)
def test_opening_a_door_loads_neither_torch_nor_lightning(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_version_is_that_of_the_project(project: dict[str, Any]) -> None:
    assert lightning_diag.__version__ == version("lightning_diag") == project["version"]


def test_the_changelog_and_the_citation_know_the_version(project: dict[str, Any]) -> None:
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {project['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_oldest_pins_are_the_lower_bounds(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["vision"], *extras["examples"]]
    bounds = dict(re.findall(r"^([a-z0-9_.-]+)(?:\[.*\])?>=([\d.]+)", "\n".join(needed), flags=re.MULTILINE))
    oldest = pins("constraints-oldest.txt")
    assert len(bounds) == len(needed), "every dependency has a lower bound and no upper cap"
    for name, bound in bounds.items():
        assert f"{oldest[name]}.".startswith(f"{bound}."), f"{name}>={bound} is tested with {oldest[name]}"


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oldest.txt"])
def test_constraints_pin_by_name_and_version_only(name: str) -> None:
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pattern = re.compile(r"[a-z0-9_.-]+==[\w.]+( ; [\w .'()<>=!*]+)?")
    assert [line for line in lines if not pattern.fullmatch(line)] == []
    assert {"torch", "torchvision", "lightning"} <= set(pins(name))


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
        entry_points = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
        assert b"lightning-diag = lightning_diag.cli:main" in archive.read(entry_points)
        assert any(n.endswith("licenses/LICENSE") for n in archive.namelist())
    source = {p.relative_to(ROOT).as_posix() for p in (ROOT / "lightning_diag").rglob("*.py")}
    assert names == source | {"lightning_diag/py.typed"}


def project_files() -> list[Path]:
    """Every text file that is, or would be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: which files belong to the project is unknown")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()]


def test_no_file_names_a_folder_of_this_machine() -> None:
    here = [ROOT, ROOT.parent, Path.home(), Path(sys.prefix), Path(tempfile.gettempdir())]
    folders = sorted({str(p) for p in here if p != Path(p.anchor)})
    pattern = re.compile(r"(?<![\w./])(" + "|".join(map(re.escape, folders)) + r")[/\\]")
    found = [(str(p.relative_to(ROOT)), m[0]) for p in project_files() for m in pattern.finditer(p.read_text("utf-8"))]
    assert found == []


def test_no_file_names_a_package_registry() -> None:
    hosts = r"https?://[^/\s]*(?:pypi|pythonhosted|registry|mirror|artifactory|nexus)[^/\s]*|https?://\S+/simple\b"
    options = r"(?<!emit-)(?:extra-)?index[-_]url|(?<!emit-)find[-_]links"
    files = [p for p in project_files() if p != Path(__file__).resolve()]
    found = [
        (str(p.relative_to(ROOT)), m[0])
        for p in files
        for m in re.finditer(f"{hosts}|{options}", p.read_text("utf-8"), re.IGNORECASE)
    ]
    assert found == []
