"""What the commands that judge have in common: settings from options, and where the formats go."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_diag import rules
from lightning_diag.baseline import Baseline, BaselineError
from lightning_diag.checking import Checker
from lightning_diag.cli.refusal import Refused, refuse
from lightning_diag.config import ConfigError, Settings, load, split
from lightning_diag.gate import Decision
from lightning_diag.sinks.formats import FORMATS, Format
from lightning_diag.sinks.full import print_full

NO_RUN = "a run leaves history.jsonl in its log directory if Diagnostics() is a callback"
_ELSEWHERE = "not all was told of the run; choose another place"
_RULES = "`lightning-diag rules` lists the rules"


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is judged, and what fails."""
    group = parser.add_argument_group("what is judged")
    group.add_argument(
        "--select",
        action="append",
        metavar="RULES",
        help="only these: codes, prefixes, names (A,G001,overfitting)",
    )
    group.add_argument("--ignore", action="append", metavar="RULES", help="all rules but these")
    group.add_argument(
        "--fail-on", choices=["info", "warning", "error"], help="exit with 1 for findings from this severity up (error)"
    )
    group.add_argument(
        "--require", action="append", metavar="RULES", help="exit with 1 where one of these rules could not judge"
    )
    group.add_argument(
        "--limit", action="append", metavar="RULE.NAME=VALUE", help="another limit (dead-units.max_dead_fraction=0.6)"
    )
    group.add_argument("--baseline", metavar="FILE", help="let the findings pass that this file knows")
    group.add_argument("--config", metavar="FILE", help="pyproject.toml to read instead of the nearest one")
    group.add_argument("--no-config", action="store_true", help="read neither a pyproject.toml nor the environment")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is written, and where."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format",
        action="append",
        metavar="NAME[:FILE]",
        help=f"{', '.join(f.name for f in FORMATS)}; repeatable",
    )
    group.add_argument("--output", metavar="FILE", help="file of the format that has none of its own")


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings: command line, then environment, then file.

    Raises:
        Refused: a setting of the file or the environment cannot be used.
    """
    try:
        settings = Settings() if options.no_config else load(file=options.config)
    except ConfigError as error:
        raise Refused(str(error), "docs/ci.md lists the settings; --no-config reads none") from error
    lists = ("select", "ignore", "require", "format")
    given: dict[str, Any] = {n: split(",".join(v)) for n in lists if (v := getattr(options, n, None)) is not None}
    given |= {n: v for n in ("fail_on", "baseline") if (v := getattr(options, n, None)) is not None}
    if getattr(options, "limit", None):
        given["rules"] = _limited(settings.rules, options.limit)
    return replace(settings, **given)


def _limited(known: Mapping[str, Mapping[str, Any]], texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the limits of the file, those of the command line over them, by code.

    Raises:
        Refused: an option is not ``RULE.NAME=VALUE``.
    """
    codes = {key: r.code for r in rules.RULES for key in (r.code, r.name)}
    made = {codes.get(n, n): {k.replace("-", "_"): v for k, v in values.items()} for n, values in known.items()}
    for text in texts:
        key, equals, value = text.partition("=")
        rule, dot, name = key.strip().partition(".")
        if not (equals and dot and rule and name):
            raise Refused(f"--limit {text!r} is not RULE.NAME=VALUE", "as in --limit dead-units.max_dead_fraction=0.6")
        try:
            number: Any = json.loads(value)
        except ValueError:
            number = value
        made.setdefault(codes.get(rule, rule), {})[name.replace("-", "_")] = number
    return made


def checker_of(settings: Settings, *, baseline: bool = True) -> Checker:
    """Return what judges as the settings ask.

    Raises:
        Refused: a rule, a limit or the baseline cannot be used.
    """
    try:
        known = Baseline.load(settings.baseline) if baseline and settings.baseline else None
        return Checker(settings, known)
    except BaselineError as error:
        raise Refused(str(error), "--baseline FILE --write-baseline writes one") from error
    except (ValueError, TypeError) as error:
        raise Refused(str(error), _RULES) from error


def outputs(settings: Settings, output: str | None) -> list[tuple[Format, str]]:
    """Return (format, file) of what is to be written, file "" for standard output.

    Raises:
        Refused: there is no such format, or two of them would share a place.
    """
    known = {f.name: f for f in FORMATS}
    chosen: list[tuple[Format, str]] = []
    for text in settings.format or ("full",):
        name, _, file = text.partition(":")
        if name not in known:
            raise Refused(f"no format {name!r}", f"formats are {', '.join(known)}; as in --format junit:out.xml")
        chosen.append((known[name], file))
    bare = [i for i, (_, file) in enumerate(chosen) if not file]
    if output is not None:
        if len(bare) != 1:
            raise Refused(f"--output {output!r} is for one format without a file, there are {len(bare)}", _places())
        chosen[bare[0]] = (chosen[bare[0]][0], output)
    files = [os.path.abspath(file) if file else "" for _, file in chosen]
    if twice := sorted({file for file in files if files.count(file) > 1}):
        raise Refused(f"two formats for {twice[0] or 'standard output'}", _places())
    return chosen


def _places() -> str:
    return "give each format a file of its own, as in --format github --format junit:out.xml"


def emit(decision: Decision, chosen: list[tuple[Format, str]]) -> int:
    """Write the decision in all formats, and on standard error what could not be judged; return the exit code.

    Raises:
        Refused: a file cannot be written.
    """
    for form, file in chosen:
        try:
            if file:
                write(Path(file), form.render(decision))
            elif form.name == "full":
                if any(not run.problem for run in decision.runs):
                    print_full(decision)
            else:
                encoding = sys.stdout.encoding or "utf-8"
                sys.stdout.write(form.render(decision, encoding).encode(encoding, "replace").decode(encoding))
            if form.name == "github":
                from lightning_diag.sinks.github import write_summary

                write_summary(decision)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = error.filename or file or "standard output"
            raise Refused(
                f"cannot write {where}: {error.strerror or error}",
                _ELSEWHERE,
            ) from error
    sys.stdout.flush()
    for run in decision.runs:
        if run.problem:
            refuse(run.problem, NO_RUN)
    return decision.exit_code


def write(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all; missing directories are made.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # /dev/stderr, a pipe
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(path))
        path.write_text(text, encoding="utf-8", errors="replace")
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
