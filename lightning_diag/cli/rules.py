"""``lightning-diag rules``: what can be found."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add no option."""


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lightning_diag.rules import rule_infos

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("code", style="bold", no_wrap=True)
    table.add_column("name", style="cyan", no_wrap=True)
    table.add_column("what it finds")
    for code, info in rule_infos().items():
        table.add_row(code, info.name, Text(info.summary))
    console.print(table)
    console.print(Text("\n`lightning-diag explain CODE` says more of each.", style="dim"))
    return 0
