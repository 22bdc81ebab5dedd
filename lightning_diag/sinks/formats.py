"""The formats that the gate speaks, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lightning_diag.gate import Decision


@dataclass(frozen=True)
class Format:
    """A format: its name, the function that makes it, and for whom it is.

    Attributes:
        name: what ``--format`` takes.
        module: in ``lightning_diag.sinks``, loaded when used.
        function: of that module; takes a :class:`Decision`.
        text: whether it is plain text, whose characters follow the encoding of where it goes.
        summary: for whom it is.
    """

    name: str
    module: str
    function: str
    text: bool
    summary: str

    def render(self, decision: Decision, encoding: str = "utf-8") -> str:
        """Return the decision in this format."""
        make: Callable[..., Any] = getattr(import_module(f"lightning_diag.sinks.{self.module}"), self.function)
        return str(make(decision, encoding=encoding) if self.text else make(decision))


FORMATS: tuple[Format, ...] = (
    Format("full", "full", "full", True, "reports with evidence and advice, for people"),
    Format("concise", "concise", "concise", True, "one line a finding, for logs and editors"),
    Format("json", "document", "document", False, "everything, for programs (docs/check.schema.json)"),
    Format("junit", "junit", "junit", False, "JUnit XML, a test case per rule, for GitLab, Jenkins, Azure"),
    Format("sarif", "sarif", "sarif", False, "SARIF 2.1.0, for code scanning"),
    Format("github", "github", "github", True, "annotations and job summary of a GitHub workflow"),
    Format("markdown", "markdown", "decided", False, "Markdown, for a comment or a wiki"),
)
