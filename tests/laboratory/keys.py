"""What a recorded history depends on, as a short key: the program's code, the recorder's code, torch and lightning."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.programs.program import Program

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "programs"
PACKAGE = ROOT / "lightning_diag"
OBSERVER = PACKAGE / "callbacks" / "diagnostics.py"
JUDGES = PACKAGE / "callbacks" / "judgement.py"  # says when a running fit is judged: nothing of it is recorded
RECORDER = ("probes", "statistics", "records", "callbacks", "graph.py")  # rules, sinks and findings only judge
DRAWN_IN = ("parts", "program")  # by every program, whatever it imports


def key(program: Program) -> str:
    """Return the key of what a fit of this program with Diagnostics would record now."""
    return digest([program_key(program), recorder_key(), *versions("torch", "lightning")])


def program_key(program: Program) -> str:
    """Return the key of the code that builds a program; how it is verified has no part in it."""
    return _code_key(_module_of(program.build))


@cache
def recorder_key() -> str:
    """Return the key of the code that records."""
    return digest(f"{f.relative_to(PACKAGE).as_posix()} {normal(f)}" for f in recorder_files(OBSERVER))


def recorder_files(observer: Path) -> list[Path]:
    """Return what of RECORDER a module reaches by imports, itself too: other callbacks beside it record nothing."""
    package, waiting, seen = observer.parents[1], [observer], set[Path]()
    while waiting:
        file = waiting.pop()
        if file not in seen and file != JUDGES and file.relative_to(package).parts[0] in RECORDER:
            seen.add(file)
            waiting += imported(file, package)
    return sorted(seen)


def imported(path: Path, package: Path) -> list[Path]:
    """Return the files of a package that a file imports by absolute names (a folder is its ``__init__.py``)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{a.name}" for a in node.names} | {str(node.module)}
    inside = [package.joinpath(*n.split(".")[1:]) for n in sorted(names) if n.startswith(f"{package.name}.")]
    return [f for p in inside for f in (p.with_suffix(".py"), p / "__init__.py") if f.is_file()]


def versions(*packages: str) -> list[str]:
    """Return "name version" of installed packages."""
    return [f"{name} {version(name)}" for name in packages]


def digest(texts: Iterable[str]) -> str:
    """Return 16 hexadecimal digits for some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


@cache
def normal(path: Path) -> str:
    """Return the code of a file without comments, layout and docstrings, which change no measurement."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(first := body[0], ast.Expr):
            if isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                del body[0]
    return ast.dump(tree)


def siblings(path: Path) -> set[str]:
    """Return the modules beside a file that it imports, those that only verify left out."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").removeprefix("tests.programs").removeprefix(".")
            beside = node.level == 1 or (node.module or "").startswith("tests.programs")
            names |= ({module.split(".")[0]} if module else {a.name for a in node.names}) if beside else set()
    found = {n for n in names if (path.parent / f"{n}.py").is_file()}
    return {n for n in found if n != "verify" and not n.endswith("_checks")}


def _module_of(build: Callable[..., Any]) -> Path:
    while isinstance(build, partial):
        build = build.func
    return Path(inspect.getfile(sys.modules[build.__module__]))


@cache
def _code_key(path: Path) -> str:
    waiting, seen = [path, *(path.parent / f"{n}.py" for n in DRAWN_IN)], set()
    while waiting:
        file = waiting.pop()
        if file not in seen and file.is_file():
            seen.add(file)
            waiting += [file.parent / f"{n}.py" for n in siblings(file)]
    return digest(f"{f.name} {normal(f)}" for f in sorted(seen))
