import numpy as np

from tests.rules.histories import falling_loss, flat_loss, judged, unmeasured
from tests.rules.wired import wired

RULE = "batch-size"
CREEPS = np.linspace(2.3, 1.9, 100) + 0.005 * np.random.default_rng(0).standard_normal(100)


def test_sick_whole_set_in_a_batch():
    (found,) = judged(wired(CREEPS, batch_size=1000, dataset_size=1000), RULE)
    assert found.severity == "warning"
    assert "100 updates" in found.message


def test_sick_single_samples():
    noise = np.random.default_rng(0).exponential(3.0, 2000)
    assert "single samples" in judged(wired(noise, batch_size=1, dataset_size=500), RULE)[0].message


def test_healthy():
    assert judged(wired(CREEPS, batch_size=32, dataset_size=1000), RULE) == []
    assert judged(wired(falling_loss(scale=0.1), batch_size=1000, dataset_size=1000), RULE) == []
    assert judged(wired(flat_loss(), batch_size=1, dataset_size=500), RULE) == []


def test_absent():
    assert "finished" in unmeasured(wired(CREEPS, batch_size=8, dataset_size=80, status="running"), RULE)
    assert "finished" in unmeasured(wired(CREEPS, batch_size=8), RULE)


def test_whole_set_of_which_nobody_knows_how_good_it_is():
    falls, rests = np.linspace(0.9, 0.3, 30), 0.3 + 0.6 * np.exp(-np.arange(30) / 3)
    for loss, said in ((falls, 1), (rests, 0)):
        assert len(judged(wired(loss, batch_size=1000, dataset_size=1000, losses=[]), RULE)) == said


def test_whole_set_that_still_gains_a_sixth_in_its_last_quarter():
    for late, said in ((0.25, 1), (0.05, 0)):
        loss = np.concatenate([np.linspace(10, 1, 6), 0.5 * np.exp(-np.linspace(0, 6 * late, 60))])
        assert len(judged(wired(loss, batch_size=1000, dataset_size=1000, losses=[]), RULE)) == said


def test_single_samples_that_each_validation_finds_elsewhere():
    noisy = 0.1 + np.random.default_rng(0).exponential(0.5, 1000)
    for shaken, said in ((0.3, 1), (0.02, 0)):
        made = wired(noisy, batch_size=1, dataset_size=4000)
        made.add_points("metric/val_r2", [399, 799, 999], [0.5, 0.4, 0.5], stage="validate")
        losses = 0.5 * (1 + shaken * np.random.default_rng(1).standard_normal(10))
        made.add_points("metric/val_loss", range(99, 1000, 100), losses.tolist(), stage="validate")
        assert len(judged(made, RULE)) == said


def test_ten_updates_that_all_helped():
    creeps = np.linspace(1.4, 1.1, 10)
    assert judged(wired(creeps, batch_size=1000, dataset_size=1000), RULE)
    assert judged(wired(creeps, batch_size=100, dataset_size=1000), RULE) == []
    creeps[5] = 1.5
    assert judged(wired(creeps, batch_size=1000, dataset_size=1000), RULE) == []
