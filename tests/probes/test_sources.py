"""Where the user's code makes a module is found, and nothing of a library is shown for it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_diag.probes.sources import source_of, sources

HERE = Path(__file__)


def line_of(text: str) -> int:
    """The line of this file that holds a text."""
    return next(i for i, line in enumerate(HERE.read_text().splitlines(), 1) if text in line)


class Block(nn.Module):
    def __init__(self) -> None:  # block
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


class Net(nn.Module):
    def __init__(self) -> None:  # net
        super().__init__()
        self.body = nn.Sequential(  # body
            nn.Linear(2, 3), nn.ReLU()
        )
        self.block = Block()
        self.heads = nn.ModuleDict({"a": nn.Linear(3, 1)})  # heads


class Heir(Net):
    def __init__(self) -> None:  # heir
        super().__init__()
        self.extra = nn.Linear(1, 1)  # extra


def test_every_module_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE.parents[1])
    found = sources(Heir())
    expected = {
        "": "# heir", "body": "# body", "body.0": "# body", "body.1": "# body", "block": "# block",
        "heads": "# heads", "heads.a": "# heads", "extra": "# extra",
    }  # fmt: skip
    assert found == {name: f"probes/test_sources.py:{line_of(text)}" for name, text in expected.items()}


def test_outside_of_the_working_directory_the_whole_path_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sources(Net())["body"] == f"{HERE.as_posix()}:{line_of('# body')}"


def test_a_model_of_a_library_has_no_line() -> None:
    assert sources(nn.Sequential(nn.Linear(1, 1), nn.TransformerEncoderLayer(4, 2))) == {}


def test_code_without_a_file_has_no_line() -> None:
    space = {"nn": nn, "__name__": "made"}
    exec("class Made(nn.Module):\n def __init__(self):\n  super().__init__()\n  self.a = nn.Linear(1, 1)", space)
    assert sources(space["Made"]()) == {}  # type: ignore[operator]


@pytest.mark.parametrize("site", ["body.0", "body.0#3", "body.0.relu", "body.0.relu#1"])
def test_a_call_within_a_module_is_at_the_module(site: str) -> None:
    assert source_of(site, {"": "a:1", "body.0": "a:9"}) == "a:9"
    assert source_of("else", {"": "a:1"}) == "a:1"
    assert source_of("else", {}) == ""


def test_the_class_is_not_kept_alive() -> None:
    import gc
    import weakref

    class Local(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(1, 1)

    assert sources(Local())["a"].endswith(f":{inspect.getsourcelines(Local)[1] + 3}")
    alive = weakref.ref(Local)
    del Local
    gc.collect()
    assert alive() is None
