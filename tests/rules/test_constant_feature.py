from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured
from tests.rules.surroundings import features, seen


def run(std, loss=None, **more):
    return history(falling_loss() if loss is None else loss, **seen(features(1.0, std, **more)))


def test_sick_all_the_same():
    (found,) = judged(run(0.0, flat_loss()), "constant-feature")
    assert found.severity == "error"


def test_sick_most_are_the_same():
    (found,) = judged(run([0, 0, 0, 0, 0, 1, 1, 1]), "constant-feature")
    assert found.severity == "warning"
    assert "5 of 8" in found.message


def test_one_is_an_info_and_none_is_silent():
    assert judged(run([0, 1, 1, 1, 1, 1, 1, 1]), "constant-feature")[0].severity == "info"
    assert judged(run(1.0), "constant-feature") == []


def test_border_pixels_are_silent():
    made = run([0, 0, 0, 0, 0, 1, 1, 1])
    made.run["batch"]["0"]["shape"] = [32, 1, 8, 8]
    assert judged(made, "constant-feature") == []


def test_absent():
    assert "rows" in unmeasured(run(0.0, rows=16), "constant-feature")


def test_a_data_set_of_one_sample_repeats_by_nature():
    made = history(falling_loss(), **seen(features(0.5, 0.0)), dataset_size=1)
    assert "1 sample" in unmeasured(made, "constant-feature")


def test_one_of_few_is_a_warning_where_the_run_fits_poorly():
    made = run([0, 1, 1, 1, 1, 1, 1, 1], flat_loss(), n=8)
    made.add_points("metric/val_r2", [100, 200, 300, 399], [0.1, 0.1, 0.12, 0.11], stage="validate")
    assert judged(made, "constant-feature")[0].severity == "warning"
    many = run([0] + [1] * 31, flat_loss(), n=32)
    many.add_points("metric/val_r2", [100, 200, 300, 399], [0.1, 0.1, 0.12, 0.11], stage="validate")
    assert judged(many, "constant-feature")[0].severity == "info"


def test_a_channel_that_is_one_number_everywhere():
    made = run([0, 0, 0, 0, 1, 1, 1, 1], flat_loss())  # the offset is 1
    made.run["batch"]["0"]["shape"] = [32, 2, 4]
    made.set_layers([Layer("net.0", "Conv1d", parameters=("net.0.weight",))])
    assert judged(made, "constant-feature") == []  # ones: a mask
    facts = made.run["data"]["train"]["0"]
    facts["min"][:4], facts["max"][:4] = [0.0] * 4, [0.0] * 4
    assert [f.severity for f in judged(made, "constant-feature")] == ["warning"]
    made.run["batch"]["0"]["shape"] = [32, 2, 4]
    facts["min"][4:], facts["max"][4:] = [0.0] * 4, [1.0] * 4
    assert [f.severity for f in judged(made, "constant-feature")] == ["info"]  # a symbol that never comes
    facts["min"][:4] = facts["max"][:4] = [-1.0, 0.0, 1.0, 2.0]
    assert judged(made, "constant-feature") == []  # coordinates
    facts["min"][:4] = facts["max"][:4] = [0.0] * 4
    made.set_layers([Layer("rnn", "GRU", parameters=("rnn.weight_ih_l0",))])
    assert judged(made, "constant-feature") == []  # the first step is padding


def test_a_channel_of_which_every_fourth_place_is_looked_at():
    made = run([1.0] * 64 + [0.0] * 64, flat_loss(), n=128)
    facts = made.run["data"]["train"]["0"]
    facts["min"][64:] = facts["max"][64:] = [0.0] * 64
    made.run["batch"]["0"]["shape"] = [32, 4, 128]
    made.set_layers([Layer("net.0", "Conv1d", parameters=("net.0.weight",))])
    (found,) = judged(made, "constant-feature")
    assert "Channel 2, 3 of the 4" in found.message
