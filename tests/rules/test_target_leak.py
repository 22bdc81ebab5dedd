from lightning_diag import check
from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy, seen


def run(r2, **more):
    fit = {"rows": 512, "features": 8, "best_feature": 5, "best_r2": r2, "linear_r2": r2, **more}
    return history(falling_loss(), **seen(fit=fit))


def test_sick():
    (found,) = judged(run(1.0), "target-leak")
    assert found.severity == "warning"
    assert "Feature 5" in found.message


def test_healthy():
    assert judged(run(0.95), "target-leak") == []
    assert judged(run(1.0, features=1), "target-leak") == []


def test_absent():
    assert "together" in unmeasured(history(falling_loss(), **seen()), "target-leak")


def test_a_few_rows_and_reconstructions_tell_nothing():
    few = run(1.0)
    few.run["data"]["train"]["0"]["distinct"] = 10
    assert "10 different rows" in unmeasured(few, "target-leak")
    same = run(1.0)
    same.run["losses"] = [{"loss": "mse_loss", "target_shape": [32, 8]}]
    assert "reconstruction" in unmeasured(same, "target-leak")
    by_hand = run(1.0)
    by_hand.run["differences"] = [{"target": "0", "target_shape": [32, 3, 3]}]
    assert "reconstruction" in unmeasured(by_hand, "target-leak")


def test_a_place_in_a_sequence_may_rightly_decide():
    made = run(1.0)
    made.set_layers([Layer("rnn", "GRU", parameters=("rnn.weight_ih_l0",))])
    assert judged(made, "target-leak")  # a measurement that is the target
    made.run["data"]["train"]["0"]["integers"] = True  # the symbol to be recalled
    assert "tables" in unmeasured(made, "target-leak")


def test_the_last_place_of_a_window_that_is_the_target():
    made = run(1.0, best_feature=7)
    made.run["batch"]["0"]["shape"] = [32, 8, 1]
    made.run["data"]["train"]["1"] = {"integers": False, "mean": [0.0]}
    made.run["data"]["target"] = {"path": "1"}
    (found,) = judged(made, "target-leak")
    assert "one step too far" in found.message
    made.run["data"]["fit"]["best_r2"] = 0.9999  # smooth: the last value is a good guess
    assert "tables" in unmeasured(made, "target-leak")
    made.run["data"]["fit"].update(best_r2=1.0, best_feature=0)  # the first one is to be remembered
    assert "tables" in unmeasured(made, "target-leak")


def language(ahead, **layer):
    made = history(falling_loss(), losses=cross_entropy(20, target_shape=[32 * 7]), **seen(target={"shifted": "1"}))
    made.run["attends_ahead"] = ahead
    made.set_layers([Layer("net", "LSTM" if layer else "Linear", **layer)])
    return check(made, select=["target-leak"]).findings


def test_sick_a_language_model_without_a_mask():
    (found,) = language({"net.attention": True})
    assert (found.severity, found.site) == ("error", "net.attention")
    assert not language({"net.attention": True, "net.other": False})  # one across sequences, maybe
    assert not language({"net.attention": False})
    (both,) = language({}, parameters=("net.weight_ih_l0", "net.weight_ih_l0_reverse"))
    assert both.site == "net"
    assert not language({}, parameters=("net.weight_ih_l0",))
    assert not language({"net.attention": True}, parameters=("decoder.weight_ih_l0",))  # of the whole, for a decoder


def test_sick_where_the_batch_is_one_tensor_and_silent_for_masked_words():
    for n, said in ((7, 1), (8, 0)):  # all but the first place, and all of them
        made = history(falling_loss(), losses=cross_entropy(20, target="batch", target_shape=[32 * n]), **seen())
        made.run["batch"] = {"batch": {"shape": [32, 8], "dtype": "torch.int64"}}
        made.run["attends_ahead"] = {"net.attention": True}
        assert len(check(made, select=["target-leak"]).findings) == said
