import os
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_diag import History
from tests.laboratory import keys, record
from tests.laboratory.store import CRASH, Store, lines, load
from tests.models import ALL


def small() -> History:
    history = History({"status": "finished"})
    history.set_sites("activation", ["a", "b"])
    history.add_sample(0, 0, {"activation/rms": [1.0, 2.0]})
    history.add_points("loss", [0, 1], [3.0, 2.0])
    return history


def test_a_history_is_read_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path("p-q", 2, "abc")
    store.write(path, lines(small()))
    assert path.name == "p-q.2.abc.jsonl.gz"
    assert lines(load(path)) == lines(small())
    assert lines(load(path)) == lines(small())  # as it was kept when it was read first
    assert sorted(f.suffix for f in tmp_path.iterdir()) == [".gz", ".pickle"]
    store.write(path, lines(History({"status": "other"})))
    assert load(path).run["status"] == "other"


def test_only_the_key_asked_for_is_found_but_stale_the_newest(tmp_path: Path) -> None:
    store, stale = Store(tmp_path), Store(tmp_path, stale=True)
    assert stale.find("p", 0, "new") is None
    for age, key in ((10, "newer"), (20, "older")):
        store.write(store.path("p", 0, key), "x")
        os.utime(store.path("p", 0, key), (1000 - age, 1000 - age))
    store.write(store.path("p-mended", 0, "other"), "x")
    store.write(store.path("p", 10, "other"), "x")
    assert store.find("p", 0, "new") is None
    assert stale.find("p", 0, "new") == store.path("p", 0, "newer")
    assert stale.find("p", 0, "older") == store.path("p", 0, "older")


def test_prune_keeps_what_it_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key in "abc":
        store.write(store.path("p", 0, key), "x")
    assert store.prune([store.path("p", 0, "b")]) == 2
    assert [f.name for f in tmp_path.iterdir()] == ["p.0.b.jsonl.gz"]


def test_a_dot_in_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no dot"):
        Store(tmp_path).path("p.q", 0, "a")


def test_programs_of_one_module_share_a_key_and_verification_has_no_part_in_it() -> None:
    by_module: dict[str, set[str]] = {}
    for p in ALL:
        build = p.build
        while hasattr(build, "func"):
            build = build.func
        by_module.setdefault(build.__module__, set()).add(keys.key(p))
    assert all(len(x) == 1 for x in by_module.values())
    assert len(set.union(*by_module.values())) == len(by_module) > 3
    assert keys.siblings(keys.PROGRAMS / "activations.py") == {"parts", "program"}


def test_all_that_diagnostics_reaches_counts_as_recorder_and_nothing_else() -> None:
    found = {f.relative_to(keys.PACKAGE).as_posix() for f in keys.recorder_files(keys.OBSERVER)}
    folders = ("probes", "statistics", "records", "callbacks")
    assert {"callbacks/diagnostics.py", "callbacks/observer.py", "graph.py"} < found
    assert {f.split("/")[0] for f in found} == {*folders, "graph.py"}
    there = {f.relative_to(keys.PACKAGE).as_posix() for x in folders for f in (keys.PACKAGE / x).rglob("*.py")}
    left_out = {f for f in there - found if not f.startswith("callbacks/")}
    assert left_out == {"probes/__init__.py", "statistics/__init__.py"}  # docstrings


def test_a_callback_beside_diagnostics_is_no_recorder_but_what_it_imports_late_is(tmp_path: Path) -> None:
    texts = {
        "callbacks/__init__.py": "from package.callbacks.other import Other\n",
        "callbacks/watch.py": "from package.probes import one\nfrom package import rules\n"
        "def late():\n    import package.records\n",
        "callbacks/other.py": "import package.callbacks.watch\n",
        "probes/one.py": "",
        "probes/two.py": "",
        "records/__init__.py": "from package.records.parts import Part\nfrom os import path\n",
        "records/parts.py": "from package.callbacks.watch import Watch\n",
        "rules/__init__.py": "from package.probes import two\n",
    }
    package = tmp_path / "package"
    for name, text in texts.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = [f.relative_to(package).as_posix() for f in keys.recorder_files(package / "callbacks" / "watch.py")]
    assert found == ["callbacks/watch.py", "probes/one.py", "records/__init__.py", "records/parts.py"]


def test_comments_and_docstrings_change_no_key_but_code_does(tmp_path: Path) -> None:
    texts = (
        '"""A."""\ndef f(x):\n    "B"\n    return x\n',
        "def f(x):  # C\n\n    return x\n",
        "def f(x): return -x\n",
    )
    files = [tmp_path / f"{i}.py" for i in range(3)]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    one, two, other = map(keys.normal, files)
    assert one == two != other


def broken(seed: int):
    raise RuntimeError("no such thing")


def test_a_fit_that_crashes_is_recorded_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = replace(ALL[0], name="broken", build=broken)
    monkeypatch.setattr(record, "programs", lambda: {"broken": program})
    said = record.work(("broken", 0, "key", str(tmp_path)))
    assert said == "CRASHED RuntimeError: no such thing"
    store = Store(tmp_path)
    assert "no such thing" in store.path("broken", 0, "key", CRASH).read_text()
    assert store.find("broken", 0, "key") is None


def test_only_what_is_missing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = Store(tmp_path), []

    def run(work, tasks, workers, tell):
        for i, task in enumerate(tasks):
            asked.append(task[:2])
            tell(task, ValueError("odd") if i else "ok")

    monkeypatch.setattr(record.pool, "run", run)
    program = ALL[0]
    store.write(store.path(program.name, 1, keys.key(program)), lines(small()))
    crashed = record.record([(program, s) for s in range(3)], store, workers=1, tell=lambda text: None)
    assert asked == [(program.name, 0), (program.name, 2)]
    assert crashed == {(program.name, 2): "CRASHED ValueError('odd')"}
    assert store.path(program.name, 2, keys.key(program), CRASH).is_file()
