from tests.rules.histories import falling_loss, history, judged, unmeasured
from tests.rules.surroundings import features, seen


def run(shared, *, repeats=0, **more):
    made = history(falling_loss(), **seen(features(epoch_repeats=repeats, **more), features(rows=128, shared=shared)))
    return made


def test_sick():
    (found,) = judged(run(64), "train-validation-overlap")
    assert found.severity == "warning"
    assert "64 of 128" in found.message


def test_sick_where_little_of_training_was_seen():
    made = run(6)
    made.run["wiring"]["train_loader"]["dataset_size"] = 10_000
    assert judged(made, "train-validation-overlap") != []


def test_healthy():
    assert judged(run(0), "train-validation-overlap") == []
    assert judged(run(3), "train-validation-overlap") == []
    assert judged(run(20, repeats=40), "train-validation-overlap") == []  # rows that repeat anyway
    assert judged(run(20, integers=True), "train-validation-overlap") == []


def test_absent():
    assert "both" in unmeasured(history(falling_loss(), **seen()), "train-validation-overlap")


def test_real_numbers_tell_samples_apart_where_whole_ones_do_not():
    made = run(64)
    for stage, shared in (("train", 0), ("validate", 90)):
        made.run["data"][stage]["2"] = features(n=64, rows=128, integers=True, shared=shared)
    (found,) = judged(made, "train-validation-overlap")
    assert found.site == "0"
