"""Every example runs, and says what it promises; the loading code for larger data reads files of the real format."""

import gzip
import logging
import pickle
import runpy
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
PROMISES = {
    "why_does_it_not_learn": ("G001", "healthy"),
    "standardize": ("inputs and targets standardized   unexplained variance 0.",),
    "stop_early_and_fail_ci": ("UnhealthyTraining: D001", "exit code for CI: 1"),
    "initialization": ("59%", "kaiming_normal", "growth"),
    "judge_again": ("A001", "body.3"),
    "gate": ("exit code of the healthy run: 0", "exit code of the sick run: 1"),
    "lightning_cli": (),
    "ten_recipes": ("val_acc", "the lectures' defaults", "restarts, layer decay, small head"),
    "torchvision_data": (),
    "surgery": ("BatchNorm1d, sigmoid", "Refused: torch.fx cannot follow Branching.forward"),
    "block_coordinate_descent": ("both blocks at once", "a block 10 steps"),
    "greedy_pretraining": ("Sigmoid  layer by layer, then all", "ReLU     as a whole"),
    "weight_noise": ("no noise", "gone halfway"),
    "ensembles": ("seeds    their average", "folds    their average"),
    "monte_carlo_dropout": ("one pass without dropout", "mean of 10 passes, disagreement"),
}
pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning tells a user with few CPUs and no GPU


def load(name: str) -> dict[str, Any]:
    """Return the names of an example without running it."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="example")


def test_every_example_is_tested() -> None:
    assert {p.stem for p in EXAMPLES.glob("*.py")} == set(PROMISES)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_examples_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert "--quick" in text


@pytest.mark.parametrize("name", PROMISES)
def test_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert [p for p in PROMISES[name] if p not in printed] == [], printed


def fashion_mnist(root: Path, rng: np.random.Generator) -> None:
    """Write the four idx files, with 96 and 32 images."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, n in (("train", 96), ("t10k", 32)):
        images, labels = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)
        content = {
            f"{part}-images-idx3-ubyte": struct.pack(">IIII", 0x803, n, 28, 28) + images.tobytes(),
            f"{part}-labels-idx1-ubyte": struct.pack(">II", 0x801, n) + labels.tobytes(),
        }
        for name, data in content.items():
            (folder / name).write_bytes(data)
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))


def cifar10(root: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the pickled batches, with 20 images each, and their checksums."""
    import hashlib

    from torchvision import datasets

    folder = root / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, data: dict[str, Any]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(data))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch() -> dict[str, Any]:
        return {"data": rng.integers(0, 256, (20, 3072), np.uint8), "labels": rng.integers(0, 10, 20).tolist()}

    kind = datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [write(f"data_batch_{i}", batch()) for i in range(1, 6)])
    monkeypatch.setattr(kind, "test_list", [write("test_batch", batch())])
    name, checksum = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(kind, "meta", {"filename": name, "key": "label_names", "md5": checksum})


@pytest.mark.parametrize("name", ["fashionmnist", "cifar10"])
def test_loading_code_reads_the_real_format(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision", reason="the vision extra is not installed")
    rng = np.random.default_rng(0)
    if name == "fashionmnist":
        fashion_mnist(tmp_path, rng)
    else:
        cifar10(tmp_path, rng, monkeypatch)
    monkeypatch.chdir(tmp_path)
    diagnostics = load("torchvision_data")["main"](["--data", name, "--root", str(tmp_path), "--quick"])
    assert diagnostics.history.run["steps"] == 2
    assert diagnostics.report.count("crashed") == 0
    shape = {"fashionmnist": (1, 28, 28), "cifar10": (3, 32, 32)}[name]
    train, val = load("torchvision_data")["datasets"](name, str(tmp_path), False)
    assert train[0][0].shape == val[0][0].shape == shape
    assert 0 <= float(train[0][0].min()) <= float(train[0][0].max()) <= 1


def test_missing_files_are_an_error_that_says_so(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="the vision extra is not installed")
    with pytest.raises(RuntimeError, match="not found"):
        load("torchvision_data")["datasets"]("cifar10", str(tmp_path), False)
