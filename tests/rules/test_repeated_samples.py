from tests.rules.histories import falling_loss, history, judged, unmeasured
from tests.rules.surroundings import features, seen


def run(size=512, **more):
    made = history(falling_loss(), **seen(features(**more)))
    made.run["wiring"]["train_loader"]["dataset_size"] = size
    return made


def test_sick_always_the_same_few():
    (found,) = judged(run(distinct=16), "repeated-samples")
    assert found.severity == "warning"
    assert "only 16" in found.message


def test_healthy_each_row_once_an_epoch():
    assert judged(run(rows=2048, distinct=500), "repeated-samples") == []
    assert judged(run(size=50_000, rows=1024, distinct=1019), "repeated-samples") == []
    assert judged(run(rows=2048, distinct=2048), "repeated-samples") == []  # augmented


def test_whole_numbers_may_coincide():
    assert judged(run(distinct=100, integers=True), "repeated-samples") == []
    assert judged(run(distinct=4, integers=True), "repeated-samples") != []


def test_weighted_sampling_is_an_info_unless_next_to_nothing_is_drawn():
    for distinct, severity in ((60, "info"), (8, "warning")):
        made = run(distinct=distinct)
        made.run["wiring"]["train_loader"]["sampler"] = "WeightedRandomSampler"
        assert judged(made, "repeated-samples")[0].severity == severity


def test_absent():
    assert "needed" in unmeasured(run(rows=32), "repeated-samples")
    assert "feature" in unmeasured(run(n=1), "repeated-samples")


def test_the_same_part_of_each_of_few_batches_in_order():
    for sampler, said in (("SequentialSampler", 0), ("RandomSampler", 1)):
        made = run(size=1500, rows=7680, distinct=128, batches=60)
        made.run["wiring"] |= {"batches_per_epoch": 1}
        made.run["wiring"]["train_loader"]["sampler"] = sampler
        assert len(judged(made, "repeated-samples")) == said
