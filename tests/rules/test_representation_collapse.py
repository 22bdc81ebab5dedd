from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured

CALL = {"site": "cross_entropy", "loss": "cross_entropy", "target": "1", "target_dtype": "torch.int64"}
TARGETS = [{**CALL, "prediction_shape": [32, 10]}]


def run(std, rank, loss, losses=TARGETS, **facts):
    tables = {"activation/sample_std": std, "activation/effective_rank": rank, "activation/rms": lambda s, j: 1.0}
    return history(loss, tables=tables, losses=losses, **facts)


def test_sick_the_same_for_all_samples():
    (found,) = judged(
        run(lambda s, j: 0.5 if j < 4 else 1e-6, lambda s, j: 8.0, flat_loss()), "representation-collapse"
    )
    assert (found.severity, found.site) == ("warning", "net.4")


def test_sick_on_a_line():
    (found,) = judged(
        run(lambda s, j: 0.5, lambda s, j: 8.0 if j < 2 else 1.02, flat_loss()), "representation-collapse"
    )
    assert found.site == "net.2"


def test_sick_embedding_while_its_loss_falls():
    made = run(lambda s, j: 0.5 if j < 8 else 1e-6, lambda s, j: 8.0, falling_loss(), losses=())
    assert judged(made, "representation-collapse")[0].site == "net.8"


def test_neural_collapse_is_healthy():
    assert (
        judged(run(lambda s, j: 0.5, lambda s, j: 8.0 if j < 2 else 1.02, falling_loss()), "representation-collapse")
        == []
    )


def test_two_classes_lie_on_a_line():
    two = [{**CALL, "prediction_shape": [32, 2]}]
    made = run(lambda s, j: 0.5, lambda s, j: 8.0 if j < 2 else 1.02, flat_loss(), losses=two)
    assert judged(made, "representation-collapse") == []


def test_healthy_low_rank_inputs_and_transients():
    assert judged(run(lambda s, j: 0.5, lambda s, j: 1.0, flat_loss()), "representation-collapse") == []
    assert judged(run(lambda s, j: 1e-6, lambda s, j: 8.0, flat_loss()), "representation-collapse") == []
    early = run(lambda s, j: 1e-6 if j > 3 and s < 300 else 0.5, lambda s, j: 8.0, flat_loss())
    assert judged(early, "representation-collapse") == []


def test_absent():
    assert "effective_rank" in unmeasured(history(flat_loss()), "representation-collapse")
    made = run(lambda s, j: 0.5, lambda s, j: 8.0, flat_loss(), batch_size=4)
    assert "batch" in unmeasured(made, "representation-collapse")


def test_sick_embedding_that_comes_to_lie_on_a_line_while_its_loss_falls():
    def line(start):
        return run(lambda s, j: 0.5, lambda s, j: start if j > 7 and s < 9 else 1.02 if j > 7 else 8.0,
                   falling_loss(), losses=())  # fmt: skip

    assert judged(line(8.0), "representation-collapse")[0].site == "net.8"
    assert judged(line(1.1), "representation-collapse") == []  # and never was anything else
