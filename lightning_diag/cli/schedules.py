"""``lightning-diag schedules``: what a learning rate will do before it does it. Needs neither torch nor lightning."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_diag.cli.refusal import Refused

if TYPE_CHECKING:
    from lightning_diag.recipe import Recipe
    from lightning_diag.schedules import Length, Schedule

_LISTED = "`lightning-diag schedules` without a name lists all schedules and their options"
_EXAMPLES = """examples:
  lightning-diag schedules                                          all of them, in a table
  lightning-diag schedules cosine one_cycle --warmup 0 --lr 0.1
  lightning-diag schedules milestones --set milestones=[30,60] --set factor=0.1 --epochs 90
  lightning-diag schedules --recipe config.yaml --output rate.png   what the recipe in a file will do"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _EXAMPLES
    parser.add_argument("names", nargs="*", metavar="NAME", help="schedules to draw; none: a table of all")
    parser.add_argument(
        "--recipe", metavar="FILE", help="YAML or JSON with the fields of a Recipe, or with a recipe in it"
    )
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps of the run (1000)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of the run (10)")
    parser.add_argument("--lr", help="base learning rate (that of the recipe, 3e-4)")
    parser.add_argument("--warmup", help="steps of the warmup (50), or their share of all (0.05)")
    parser.add_argument("--warmup-kind", choices=["linear", "exponential"])
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the schedule")
    parser.add_argument("--output", metavar="FILE", help="write a picture, .png or .svg, instead of drawing here")


def run(options: argparse.Namespace) -> int:
    """Draw, or list.

    Raises:
        Refused: a name, an option or a file cannot be used.
    """
    from lightning_diag.schedules import Length, scheduled

    try:
        if options.steps < 1 or options.epochs < 1:
            raise ValueError(f"a run has at least one step and epoch, got {options.steps} and {options.epochs}")
        length = Length(options.steps, options.epochs, -(-options.steps // options.epochs))
        recipes = _recipes(options)
        if not recipes:
            return _table(length)
        rows = [(made, _rate(r)) for r in recipes if (made := scheduled(r, length)) is not None]
        if not rows:
            raise ValueError("the recipe has no schedule and no warmup: its learning rate stays as it is")
        if options.output:
            return _write(rows, options.output)
        print("\n\n".join(_shown(made.plot(lr)) for made, lr in rows))
    except (ValueError, TypeError) as error:
        raise Refused(str(error), _LISTED) from error
    return 0


def _write(rows: list[tuple[Schedule, float]], output: str) -> int:
    from lightning_diag.schedules.pictures import write_picture

    try:
        print(f"wrote {write_picture(rows, output)}")
    except OSError as error:
        raise Refused(f"cannot write {output}: {error.strerror or error}", "give another --output") from error
    return 0


def _recipes(options: argparse.Namespace) -> list[Recipe]:
    """Return a recipe for each name, or the one of the file; none where nothing was named."""
    from lightning_diag.recipe import Recipe

    base = _read(options.recipe) if options.recipe else Recipe()
    given: dict[str, Any] = {}
    if options.lr is not None:
        given["lr"] = _value(options.lr)
    if options.warmup is not None:
        given["warmup"] = _value(options.warmup) or None
    if options.warmup_kind is not None:
        given["warmup_kind"] = options.warmup_kind
    pairs = dict(_pair(text) for text in options.set)
    if not options.names:
        if not options.recipe:
            return []
        given |= {"schedule_options": {**(base.schedule_options or {}), **pairs}} if pairs else {}
        return [base.edited(given)]
    return [base.edited({**given, "schedule": n, "schedule_options": pairs or None}) for n in options.names]


def _read(file: str) -> Recipe:
    """Return the recipe in a file: its fields at the top, under ``recipe``, or in the config of LightningCLI."""
    import yaml

    from lightning_diag.recipe import Recipe

    try:
        data = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(f"cannot read {file}: {error}", "give a YAML or JSON file with the fields of a Recipe") from error
    for path in (("model", "init_args", "recipe"), ("model", "recipe"), ("recipe",)):
        inner = data
        for key in path:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            return Recipe.from_dict(inner)
    if not isinstance(data, dict):
        raise Refused(f"{file} holds no recipe", "give a YAML or JSON file with the fields of a Recipe")
    return Recipe.from_dict(data)


def _rate(recipe: Recipe) -> float:
    return recipe.lr if isinstance(recipe.lr, (int, float)) else 1.0


def _pair(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ValueError(f"--set takes OPTION=VALUE, as in --set final=0.01, got {text!r}")
    return name, _value(value)


def _value(text: str) -> Any:
    """Return the number or list that a text stands for; also 3e-4, which YAML takes for a word."""
    import yaml

    try:
        return float(text) if not text.lstrip("+-").isdigit() else int(text)
    except ValueError:
        return yaml.safe_load(text)


def _table(length: Length) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lightning_diag.recipe import Recipe
    from lightning_diag.recipe.options import SCHEDULE_OPTIONS
    from lightning_diag.schedules import SCHEDULES, scheduled
    from lightning_diag.schedules.drawing import sparkline

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("schedule", f"its rate over {length.steps} steps", "counts", "Robbins-Monro", "options"):
        table.add_column(title, style="cyan" if title == "schedule" else None, no_wrap=title == "schedule")
    for row in SCHEDULES:
        made = scheduled(Recipe(schedule=row.name), length)
        line = sparkline(made, length.steps or 1, 24) if made is not None and row.function else "as a metric says"
        options = Text(", ".join(SCHEDULE_OPTIONS[row.name]))
        table.add_row(row.name, Text(_shown(line)), f"{row.interval}s", row.robbins_monro, options)
    console.print(table)
    console.print(Text("\n`lightning-diag schedules NAME` draws one; --set OPTION=VALUE sets an option.", style="dim"))
    return 0


def _shown(text: str) -> str:
    """Return the drawing in characters that standard output can write."""
    import sys

    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = str.maketrans("▁▂▃▄▅▆▇█│┤└─", "_...--##|++-")
        return text.translate(plain)
    return text
