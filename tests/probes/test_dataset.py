import numpy as np
import pytest

from lightning_diag.probes.dataset import DataSeen


def batches(x, y, size=32, *, shuffle=True, seed=0):
    order = np.random.default_rng(seed).permutation(len(x)) if shuffle else np.arange(len(x))
    for i in range(0, len(x), size):
        at = order[i : i + size]
        yield {"0": x[at], "1": y[at, None] if y.ndim == 1 else y[at]}


def seen(x, y, **options):
    data = DataSeen()
    for rows in batches(x, y, **options):
        data.add(rows, 0)
    return data.facts()


RNG = np.random.default_rng(0)
X = RNG.normal([0, 5, 100], [1, 2, 0], (320, 3))
Y = RNG.integers(0, 4, 320).astype(float)


def test_moments_are_those_of_all_rows():
    found = seen(X, Y)["train"]["0"]
    assert found["rows"] == 320
    np.testing.assert_allclose(found["mean"], X.mean(0), rtol=1e-3)
    np.testing.assert_allclose(found["std"], X.std(0), rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(found["max"], X.max(0), rtol=1e-3)
    assert not found["integers"]
    assert found["epoch_repeats"] == found["repeated_in_batch"] == 0


def test_a_large_offset_does_not_cost_the_spread():
    found = seen(X + 1e8, Y)["train"]["0"]
    np.testing.assert_allclose(found["std"][:2], X.std(0)[:2], rtol=1e-2)


def test_repeated_rows_are_counted_within_an_epoch_alone():
    data = DataSeen()
    for epoch in range(3):
        for rows in batches(X, Y, seed=epoch):
            data.add(rows, epoch)
    assert data.facts()["train"]["0"]["epoch_repeats"] == 0
    data.add({"0": X[:32], "1": Y[:32, None]}, 2)
    assert data.facts()["train"]["0"]["epoch_repeats"] == 32


def test_rows_that_validation_shares_with_training():
    data = DataSeen()
    for rows in batches(X, Y):
        data.add(rows, 0)
    data.add_validation({"0": np.vstack([X[:10], RNG.normal(size=(20, 3))])}, 0)
    assert data.facts()["validate"]["0"]["shared"] == 10
    assert data.facts()["validate"]["0"]["distinct"] == 30


def test_classes_sorted_and_shuffled():
    shuffled, ordered = (seen(X, np.sort(Y), shuffle=s)["target"] for s in (True, False))
    assert shuffled["same_class_in_batch"] == pytest.approx(shuffled["same_class"], abs=0.03)
    assert ordered["same_class_in_batch"] > 0.8
    assert ordered["counts"] == {str(c): int((c == Y).sum()) for c in range(4)}


def test_a_feature_that_is_the_target_and_features_that_are_not():
    leak = seen(np.c_[X, Y], Y)["fit"]
    assert (leak["best_feature"], leak["best_r2"]) == (3, pytest.approx(1, abs=1e-3))
    none = seen(X, Y)["fit"]
    assert none["best_r2"] < 0.1
    regression = seen(X, X[:, 0] + 0.1 * RNG.normal(size=320))["fit"]
    assert regression["best_feature"] == 0
    assert regression["best_r2"] == pytest.approx(0.99, abs=0.01)


def test_recall_of_the_latest_samples():
    data = DataSeen()
    for rows in batches(X, Y):
        data.add({**rows, "(target)": rows["1"], "(prediction)": np.eye(4)[np.zeros(len(rows["1"]), int)]}, 0)
    recent = data.facts()["target"]["recent"]
    assert recent["predicted"] == {"0": 320}
    assert recent["right"] == {"0": int((Y == 0).sum())}


def test_what_is_not_a_number_is_counted_and_left_out():
    x = X.copy()
    x[0, 0], x[5, 1] = np.nan, np.inf
    found = seen(x, Y)["train"]["0"]
    assert (found["nonfinite"], found["rows"]) == (2, 318)
    assert np.isfinite(found["mean"]).all()


def test_targets_that_are_the_next_symbols():
    text = np.random.default_rng(0).integers(0, 9, (64, 9)).astype(float)
    assert seen(text[:, :-1], text[:, 1:])["target"]["shifted"] == "1"
    assert "shifted" not in seen(text[:, :-1], text[:, :-1])["target"]
    assert "shifted" not in seen(text[:, :-1] + 0.5, text[:, 1:] + 0.5)["target"]
    assert "shifted" not in seen(np.ones((64, 8)), np.ones((64, 8)))["target"]
