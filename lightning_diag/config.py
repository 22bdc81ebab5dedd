"""Settings of the gate and of the callback: ``[tool.lightning-diag]`` of a pyproject.toml, and the environment.

Stronger ones win: command line or constructor, then environment, then file, then default. The file is the nearest
``pyproject.toml`` with such a table, looked for in the working directory and above it, up to the root of the
repository (the first directory that holds ``.git``) or of the file system.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lightning_diag.findings import severity

TABLE = "lightning-diag"
PREFIX = "LIGHTNING_DIAG_"
_LISTS = ("select", "ignore", "require", "format")


class ConfigError(ValueError):
    """Settings that cannot be used; the message says which, where, and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """What a check asks for.

    Attributes:
        select: codes, prefixes or names of the rules to ask; all if empty.
        ignore: those to leave out.
        per_site_ignores: site glob -> rules to leave out there.
        rules: rule code or name -> parameter -> value.
        require: rules that must judge.
        fail_on: the least severity that fails.
        baseline: file of known findings, "" for none.
        format: formats of the output, each ``name`` or ``name:file``.
        file: where these were read, None if nowhere.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_site_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    require: tuple[str, ...] = ()
    fail_on: str = "error"
    baseline: str = ""
    format: tuple[str, ...] = ()
    file: Path | None = None

    @property
    def ignores(self) -> dict[str, tuple[str, ...]] | tuple[str, ...]:
        """What ``rules.check`` takes: ``ignore`` alone, or a mapping of site globs with it at "*"."""
        if not self.per_site_ignores:
            return self.ignore
        everywhere = (*self.per_site_ignores.get("*", ()), *self.ignore)
        return {**self.per_site_ignores, "*": everywhere}


def load(
    start: str | Path | None = None, *, file: str | Path | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings of the nearest file, overridden by the environment.

    Args:
        start: the directory where the search begins; the working directory if None.
        file: the pyproject.toml to read instead of searching.
        environ: where ``LIGHTNING_DIAG_SELECT`` and so on are looked up.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or of the wrong type.
    """
    file = file or environ.get(PREFIX + "CONFIG") or None
    if file is not None:
        path, found = Path(file), _table(Path(file), needed=True)
        settings = _from_table(found or {}, path)
    else:
        settings = _search(Path.cwd() if start is None else Path(start))
    return _from_environment(settings, environ)


def _search(start: Path) -> Settings:
    for directory in (start.absolute(), *start.absolute().parents):
        path = directory / "pyproject.toml"
        if path.is_file() and (found := _table(path)) is not None:
            return _from_table(found, path)
        if (directory / ".git").exists():
            break
    return Settings()


def _table(path: Path, *, needed: bool = False) -> Mapping[str, Any] | None:
    """Return ``[tool.lightning-diag]`` of a file, None if it has none."""
    try:
        text = path.read_bytes().decode(errors="replace")
        if TABLE not in text and not needed:
            return None
        data = _toml(text)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    found = data.get("tool", {})
    found = found.get(TABLE) if isinstance(found, Mapping) else None
    if needed and found is None:
        raise ConfigError(f"{path} has no table [tool.{TABLE}]")
    if found is not None and not isinstance(found, Mapping):
        raise ConfigError(f"{path}: tool.{TABLE} must be a table, got {found!r}")
    return found


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _from_table(table: Mapping[str, Any], path: Path) -> Settings:
    known = {f.name.replace("_", "-"): f.name for f in fields(Settings) if f.name != "file"}
    made: dict[str, Any] = {}
    for key, value in table.items():
        name = known.get(key)
        if name is None:
            raise ConfigError(f"{path}: [tool.{TABLE}] has no setting {key!r}; {_nearest(key, known)}")
        made[name] = _checked(name, value, f"{path}: tool.{TABLE}.{key}")
    if made.get("baseline"):
        made["baseline"] = str(path.absolute().parent / made["baseline"])
    return Settings(**made, file=path)


def _checked(name: str, value: Any, where: str) -> Any:
    if name in _LISTS:
        return _texts(value, where)
    if name == "per_site_ignores":
        return {glob: _texts(codes, f"{where}.{glob}") for glob, codes in _mapping(value, where).items()}
    if name == "rules":
        for rule, limits in _mapping(value, where).items():
            _mapping(limits, f"{where}.{rule}")
        return value
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be text, got {value!r}")
    if name == "fail_on":
        return _severity(value, where)
    return value


def _severity(value: str, where: str) -> str:
    try:
        return severity(value).value
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return split(value)
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        raise ConfigError(f"{where} must be a list of texts, got {value!r}")
    return tuple(value)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a table, got {value!r}")
    return value


def _nearest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key.replace("_", "-"), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(known)}"


def _from_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Return the settings with those that the environment states; an empty variable states nothing."""
    known = {PREFIX + name.upper(): name for name in (*_LISTS, "fail_on", "baseline")}
    also = (PREFIX + "CONFIG",)
    changed: dict[str, Any] = {}
    for variable in (v for v in environ if v.startswith(PREFIX) and environ[v]):
        if variable in known:
            changed[known[variable]] = _checked(known[variable], environ[variable], variable)
        elif variable not in also:
            near = difflib.get_close_matches(variable, [*known, *also], n=1, cutoff=0.5)
            raise ConfigError(f"{variable} is no setting; allowed are {', '.join(near or [*known, *also])}")
    return replace(settings, **changed)


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a list with commas.

    Example:
        >>> split("A, G001,"), split("")
        (('A', 'G001'), ())
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())
