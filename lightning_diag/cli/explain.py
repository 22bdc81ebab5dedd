"""``lightning-diag explain``: the page of a rule in the terminal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lightning_diag.cli.refusal import Refused
from lightning_diag.findings import RuleInfo

if TYPE_CHECKING:
    from rich.console import Console


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the argument."""
    parser.add_argument("code", metavar="CODE", help="code, name or prefix: A001, dead-units, A")


def run(options: argparse.Namespace) -> int:
    """Print the pages.

    Raises:
        Refused: there is no such rule.
    """
    from rich.console import Console

    from lightning_diag.rules import resolve, rule_infos

    try:
        codes = resolve([options.code])
    except ValueError as error:
        raise Refused(str(error), "`lightning-diag rules` lists the rules") from error
    infos = rule_infos()
    for code in codes:
        _print_rule(infos[code], Console(highlight=False))
    return 0


def _print_rule(info: RuleInfo, console: Console) -> None:
    import textwrap

    from rich.text import Text

    console.print(Text.assemble((f"{info.code} {info.name}", "bold"), "\n", info.summary))
    paragraph: list[str] = []
    for line in [*info.help.removeprefix(info.summary).replace("``", "`").splitlines(), ""]:
        is_heading = line.rstrip().endswith(":") and not line.startswith(" ")
        if paragraph and (is_heading or not line.strip()):
            width = min(console.width, 100)
            filled = textwrap.fill(" ".join(paragraph), width, initial_indent="  ", subsequent_indent="  ")
            console.print(Text(filled), soft_wrap=True)
            paragraph = []
        if is_heading:
            console.print(Text(f"\n{line.strip().rstrip(':')}", style="bold cyan"))
        elif line.strip():
            paragraph.append(line.strip())
    console.print(Text(f"\n{info.url}\n" if info.url else "", style="dim"))
