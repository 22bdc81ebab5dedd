"""Writes what the documentation repeats of the rules: ``docs/rules/*.md`` and the table in the README.

``python docs/generate.py`` writes them; with ``--check`` it changes nothing, names the files that are stale, and exits
with 1 if there are any. A page shows the picture of its rule where ``docs/pictures.py`` has drawn one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from lightning_diag.findings import RuleInfo
from lightning_diag.rules import rule_infos
from lightning_diag.rules.rule import HEADINGS

ROOT = Path(__file__).resolve().parent.parent
PICTURES = Path("docs/rules/images")
BEGIN, END = "<!-- rules:begin -->", "<!-- rules:end -->"


def page_name(rule: RuleInfo) -> str:
    """Return the file name of the rule's page."""
    return f"{rule.code}-{rule.name}.md"


def picture_name(rule: RuleInfo) -> str:
    """Return the file name of the rule's picture."""
    return f"{rule.code}-{rule.name}.svg"


def page(rule: RuleInfo, root: Path = ROOT) -> str:
    """Return the rule's page: its docstring with the sections ("What it finds:", ...) as headings.

    Below the first paragraph stand the picture and what it says of itself, where there is one.
    """
    lines, waiting = [f"# {rule.code} {rule.name}", ""], picture(rule, root)
    for line in rule.help.strip().splitlines():
        heading = line.removesuffix(":")
        lines += [f"## {heading}", ""] if heading in HEADINGS else [line.removeprefix("    ")]
        if not line.strip():
            lines, waiting = lines + waiting, []
    return "\n".join(lines) + "\n"


def picture(rule: RuleInfo, root: Path = ROOT) -> list[str]:
    """Return the lines that show the rule's picture, none where it has no picture.

    Raises:
        ValueError: the picture is no SVG with a description.
    """
    path = root / PICTURES / picture_name(rule)
    if not path.exists():
        return []
    try:
        about = ElementTree.parse(path).getroot().findtext("{http://www.w3.org/2000/svg}desc")
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not well-formed ({error}); draw it anew with `make pictures`") from error
    if not about:
        raise ValueError(f"{path} has no <desc> that names its programs; draw it anew with `make pictures`")
    return [f"![sick and mended](images/{picture_name(rule)})", "", about, ""]


def table(rules: Mapping[str, RuleInfo]) -> str:
    """Return the table of rules for the README, each row with a link to the rule's page."""
    rows = [f"| [{r.code}](docs/rules/{page_name(r)}) | {r.name} | {r.summary} |" for r in rules.values()]
    return "\n".join(["| code | name | what it finds |", "|:--|:--|:--|", *rows])


def between_markers(text: str, new: str) -> str:
    """Return ``text`` with what stands between the two markers replaced.

    Raises:
        ValueError: a marker is missing, or they are in the wrong order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md must hold the line {BEGIN} and, below it, the line {END}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def generated(root: Path = ROOT) -> dict[Path, str]:
    """Return every generated file with what it should hold."""
    rules = rule_infos()
    readme = root / "README.md"
    files = {readme: between_markers(readme.read_text(encoding="utf-8"), table(rules))}
    return files | {root / "docs" / "rules" / page_name(r): page(r, root) for r in rules.values()}


def stale(root: Path = ROOT) -> list[Path]:
    """Return the files that differ from what they should hold, are missing, or belong to no rule.

    A page that shows a picture that is not there, or does not show one that is, is among them.
    """
    wanted = generated(root)
    different = [p for p, text in wanted.items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    orphans = set((root / "docs" / "rules").glob("*.md")) - set(wanted)
    orphans |= set((root / PICTURES).glob("*")) - {root / PICTURES / picture_name(r) for r in rule_infos().values()}
    return different + sorted(orphans)


def write(root: Path = ROOT) -> None:
    """Write every generated file and remove the pages and pictures of rules that are gone."""
    wanted = generated(root)
    for path in stale(root):
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8", newline="\n")
        else:
            path.unlink()


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Write the rule pages and the README's table of rules.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 if something is stale")
    if not parser.parse_args().check:
        write()
        return 0
    paths = stale()
    for path in paths:
        print(f"{path.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
    return 1 if paths else 0


if __name__ == "__main__":
    sys.exit(main())
