"""Where the user's code makes a module: file and line, so that a finding can point there."""

from __future__ import annotations

import dis
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from torch import nn

from lightning_diag.graph import clean

_MOST = 20_000
_LIBRARIES = ("torch", "lightning", "pytorch_lightning", "torchvision", "lightning_diag")


def sources(root: nn.Module) -> dict[str, str]:
    """Return module name -> "file:line"; modules whose place is unknown are left out.

    A class of the user's own is shown where it is defined, any other module where the nearest class of the user's
    around it assigns the attribute that holds it (``self.net = nn.Sequential(...)`` for all in ``net``). Files are
    relative to the working directory where they lie beneath it.
    """
    found: dict[str, str] = {}
    modules = dict(root.named_modules())
    defined = {cls: _defined(cls) for cls in {type(m) for m in modules.values()}}
    assigned: dict[tuple[type, str], str] = {}
    for name, module in list(modules.items())[:_MOST]:
        place = defined[type(module)]
        parent = name
        while not place and parent:
            parent, _, attribute = parent.rpartition(".")
            owner = modules.get(parent)
            key = type(owner), attribute
            if key not in assigned:
                assigned[key] = _assigned(*key)
            place = assigned[key] or found.get(parent, "")
        if place:
            found[clean(name)] = place
    return found


def source_of(site: str, known: dict[str, str]) -> str:
    """Return the place of a site (a call of a module, or a function within it), "" if unknown.

    Example:
        >>> source_of("net.0:relu#1", {"": "train.py:3", "net.0": "train.py:9"})
        'train.py:9'
    """
    name = site.partition(":")[0].partition("#")[0]
    while name and name not in known:
        name = name.rpartition(".")[0]
    return known.get(name, "")


def _defined(cls: type) -> str:
    """Return where a class of the user's is defined: the line of its ``__init__``, or of its first method."""
    code = next(iter(_codes(cls)), None) if _is_users(cls) else None
    return "" if code is None else f"{_shown(code.co_filename)}:{code.co_firstlineno}"


def _assigned(cls: type, attribute: str) -> str:
    """Return where a class, or one that it inherits from, assigns ``self.attribute``."""
    for base in cls.__mro__:
        for code in _codes(base) if _is_users(base) else ():
            for line in _stores(code, attribute):
                return f"{_shown(code.co_filename)}:{line}"
    return ""


def _stores(code: CodeType, attribute: str) -> list[int]:
    if attribute not in code.co_names:
        return []
    lines, line = [], code.co_firstlineno
    starts = dict(dis.findlinestarts(code))
    for instruction in dis.get_instructions(code):
        line = starts.get(instruction.offset) or line
        if instruction.opname == "STORE_ATTR" and instruction.argval == attribute:
            lines.append(line)
    return lines


def _codes(cls: type) -> list[CodeType]:
    """Return the code of the methods that a class itself has, ``__init__`` first."""
    methods: list[Any] = [cls.__dict__.get("__init__"), cls.__dict__.get("configure_model"), *cls.__dict__.values()]
    found = (getattr(m, "__code__", None) for m in methods)
    return list(dict.fromkeys(c for c in found if isinstance(c, CodeType) and Path(c.co_filename).is_file()))


def _is_users(cls: type) -> bool:
    module = getattr(cls, "__module__", "") or ""
    if module.partition(".")[0] in _LIBRARIES or module in ("builtins", "abc", "typing"):
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or not str(file).startswith(_installed())


@cache
def _installed() -> tuple[str, ...]:
    paths = (sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
    return tuple(p for p in paths if p)


def _shown(file: str) -> str:
    path = Path(file).absolute()
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return path.as_posix()
