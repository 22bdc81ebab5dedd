"""Every row against numpy; odd data; saving, moving and exporting."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from lightning_diag.preprocessing import PREPROCESSINGS, TARGETS, Preprocessing, TargetPreprocessing

Array = npt.NDArray[np.float64]
NAMES = [row.name for row in PREPROCESSINGS]


def images(n: int = 400) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(12, 12, generator=rng)
    x = torch.randn(n, 12, generator=rng) @ mix
    return x.reshape(n, 3, 2, 2) * torch.tensor([1.0, 20.0, 0.1])[:, None, None] + 5


def whitened(x: Array, eps: float, back: bool) -> Array:
    """PCA and ZCA whitening as the lecture has them: the SVD of the covariance, and a root over S + eps."""
    flat = x.reshape(len(x), -1)
    flat = flat - flat.mean(0)
    u, s, _ = np.linalg.svd(flat.T @ flat / len(flat))
    u = u * np.sign(u[np.abs(u).argmax(0), np.arange(len(s))])  # signs are arbitrary
    rotated = flat @ u / np.sqrt(s + eps)  # S holds eigenvalues, not singular values of the data
    return (rotated @ u.T if back else rotated).reshape(x.shape)


REFERENCES: dict[str, Any] = {
    "mean": lambda x: x - x.mean(),
    "mean_image": lambda x: x - x.mean(0),
    "channel_mean": lambda x: x - x.mean((0, 2, 3), keepdims=True),
    "channel": lambda x: (x - x.mean((0, 2, 3), keepdims=True)) / x.std((0, 2, 3), keepdims=True),
    "feature": lambda x: (x - x.mean(0)) / x.std(0),
    "minmax": lambda x: (x - x.min((0, 2, 3), keepdims=True)) / np.ptp(x, (0, 2, 3), keepdims=True),
    "pca": lambda x: whitened(x, 1e-5, False),
    "zca": lambda x: whitened(x, 1e-5, True),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_that_of_numpy_and_has_an_inverse(name: str) -> None:
    x = images()
    p = Preprocessing(name).observe(x)
    y = p(x)
    np.testing.assert_allclose(y, REFERENCES[name](x.double().numpy()), rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(p.inverse(y), x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["pca", "zca"])
def test_whitened_data_has_the_identity_for_covariance(name: str) -> None:
    x = images(2000)
    y = Preprocessing(name).observe(x)(x).flatten(1)
    torch.testing.assert_close(torch.cov(y.T, correction=0), torch.eye(12), atol=2e-2, rtol=0)


def test_zca_stays_nearest_to_the_data() -> None:
    x = images()
    centred = x - x.mean(0)
    near, rotated = (Preprocessing(name).observe(x)(x) for name in ("zca", "pca"))
    scaled = centred / centred.std(0)
    assert float((near - scaled).square().mean()) < 0.5 * float((rotated - scaled).square().mean())


@pytest.mark.parametrize("name", ["channel", "feature", "minmax"])
def test_a_constant_feature_is_centred_and_not_divided(name: str) -> None:
    x = torch.randn(50, 3)
    x[:, 1] = 0.1
    p = Preprocessing(name).observe(x)
    assert p(x)[:, 1].abs().max() < 1e-7
    assert p(torch.tensor([[0.0, 0.6, 0.0]]))[0, 1] == pytest.approx(0.5)
    assert torch.isfinite(p(x)).all()


def test_whitening_a_constant_feature_needs_epsilon() -> None:
    x = torch.randn(50, 3)
    x[:, 1] = 2.0
    assert torch.isfinite(Preprocessing("zca").observe(x)(x)).all()
    with pytest.raises(ValueError, match="covariance is singular, so that whitening divides by 0; give eps above 0"):
        Preprocessing("zca", eps=0.0).observe(x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_become_floats(dtype: torch.dtype) -> None:
    x = torch.randint(0, 2 if dtype == torch.bool else 256, (64, 3, 4, 4)).to(dtype)
    p = Preprocessing("channel").observe(x)
    assert p(x).dtype == torch.float32
    torch.testing.assert_close(p(x), Preprocessing("channel").observe(x.float())(x.float()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_keep_their_type(dtype: torch.dtype) -> None:
    x = (torch.randn(64, 3) * 100 + 1000).to(dtype)
    p = Preprocessing("channel").observe(x)
    assert p(x).dtype == p.inverse(p(x)).dtype == dtype
    assert float(p(x).double().std(correction=0)) == pytest.approx(1.0, abs=0.02)


def test_statistics_stay_in_single_precision_in_a_model_of_half_precision() -> None:
    x = torch.randn(64, 3) + 1000
    p = torch.nn.Sequential(Preprocessing("channel").observe(x)).to(torch.bfloat16)[0]
    torch.testing.assert_close(p.offset, x.mean(0))
    assert p(x.to(torch.bfloat16)).dtype == torch.bfloat16
    assert p.double().offset.dtype == torch.float64


def test_missing_values_are_refused_filled_or_kept() -> None:
    x = torch.tensor([[1.0, 10.0], [3.0, float("nan")], [5.0, 30.0]])
    with pytest.raises(ValueError, match=r"1 values are missing \(NaN\) in the data; pass missing='mean'"):
        Preprocessing("channel").observe(x)
    filled, kept = (Preprocessing("channel", missing=m).observe(x)(x) for m in ("mean", "keep"))  # type: ignore[arg-type]
    assert filled[1, 1] == 0.0 and torch.isnan(kept[1, 1])
    torch.testing.assert_close(filled[[0, 2]], kept[[0, 2]])
    assert filled[0, 1] == -1.0, "the statistics are those of the values that are there"
    ranged = Preprocessing("minmax", missing="mean").observe(x)(x)
    assert ranged[1, 1] == 0.5
    assert torch.isfinite(Preprocessing("pca", missing="mean").observe(x)(x)).all()


def test_a_feature_that_was_never_there_passes_as_it_is() -> None:
    x = torch.tensor([[1.0, float("nan")], [3.0, float("nan")]])
    p = Preprocessing("channel", missing="keep").observe(x)
    assert p(torch.tensor([[2.0, 7.0]])).tolist() == [[0.0, 7.0]]


@pytest.mark.parametrize("name", NAMES)
def test_an_unfitted_one_says_so(name: str) -> None:
    p = Preprocessing(name)
    assert (p.fitted, "not fitted" in repr(p)) == (False, True)
    for call in (p, p.inverse):
        with pytest.raises(RuntimeError, match="this preprocessing has no statistics yet: fit it on the training data"):
            call(torch.ones(2, 3, 4, 4))


def test_other_shapes_than_those_of_the_statistics_are_told() -> None:
    p = Preprocessing("channel").observe(images())
    with pytest.raises(ValueError, match="another shape than the data"):
        p(torch.ones(2, 4, 2, 2))
    with pytest.raises(ValueError, match="fewer axes"):
        p(torch.ones(3, 2))
    assert p(torch.ones(3, 5, 7)).shape == (3, 5, 7), "one image, of another size"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"kind": "channels"}, "'channels' is none of mean, .*; did you mean 'channel'"), ({"eps": -1.0}, "eps must be"),
     ({"eps": float("nan")}, "eps must be a finite"), ({"channel_axis": 0}, "channel_axis must be a whole number"),
     ({"missing": "drop"}, "missing 'drop' is none of refuse, mean, keep")],
)  # fmt: skip
def test_bad_arguments_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


def test_one_sample_has_no_spread() -> None:
    with pytest.raises(ValueError, match="statistics need two samples or more, got 1"):
        Preprocessing("channel").observe(torch.ones(1, 3))


@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_saved_copied_and_moved(name: str) -> None:
    x = images()
    p = Preprocessing(name).observe(x)
    loaded = Preprocessing(name)
    file = io.BytesIO()
    torch.save(p.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (loaded, copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert torch.equal(other(x), p(x))
    torch.testing.assert_close(copy.deepcopy(p).double()(x.double()).float(), p(x), rtol=1e-3, atol=1e-3)
    assert len(list(p.parameters())) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_it_is_exported_with_what_holds_it(name: str) -> None:
    x = images(8)
    p = Preprocessing(name).observe(images())
    model = torch.nn.Sequential(p, torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()
    for exported in (torch.jit.script(model), torch.jit.trace(model, x), torch.export.export(model, (x,)).module()):
        torch.testing.assert_close(exported(x), model(x))


@pytest.mark.parametrize("row", TARGETS, ids=lambda r: r.name)
def test_targets_come_back_in_their_units(row: Any) -> None:
    for y in (torch.randn(100) * 300 + 5000, torch.randn(100, 2) * torch.tensor([1.0, 1e4])):
        p = TargetPreprocessing(row.name).observe(y)
        mapped = p(y)
        assert mapped.shape == y.shape
        torch.testing.assert_close(p.inverse(mapped), y, rtol=1e-4, atol=1e-3)
        if row.name == "standardize":
            torch.testing.assert_close(mapped.std(0, correction=0), torch.ones(y.shape[1:]), rtol=1e-4, atol=1e-4)
        else:
            assert (float(mapped.min()), float(mapped.max())) == (pytest.approx(0), pytest.approx(1))
