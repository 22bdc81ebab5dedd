from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy, seen


def run(counts, right, predicted, present=None, **facts):
    present = {c: max(1, n // 20) for c, n in counts.items()} if present is None else present
    recent = {"present": present, "predicted": predicted, "right": right}
    target = {"path": "1", "counts": {str(k): n for k, n in counts.items()}, "recent": recent}
    return history(falling_loss(), losses=cross_entropy(len(counts)), **{**seen(target=target), **facts})


def test_sick_the_rare_class_is_never_predicted():
    (found,) = judged(run({"0": 980, "1": 40}, {"0": 49}, {"0": 60}, {"0": 49, "1": 11}), "class-imbalance")
    assert found.severity == "warning"
    assert "Class 1" in found.message
    assert "0 of 11" in found.message


def test_info_where_rare_classes_are_found():
    made = run({"0": 980, "1": 40}, {"0": 48, "1": 9}, {"0": 50, "1": 10}, {"0": 49, "1": 11})
    assert judged(made, "class-imbalance")[0].severity == "info"


def test_healthy_even_classes_even_if_one_is_not_found():
    made = run({"0": 500, "1": 480}, {"0": 49}, {"0": 60}, {"0": 30, "1": 30})
    assert judged(made, "class-imbalance") == []


def test_few_cases_say_nothing():
    made = run({"0": 980, "1": 20}, {"0": 49}, {"0": 52}, {"0": 49, "1": 3})
    assert [f.severity for f in judged(made, "class-imbalance")] == ["info"]


def test_absent():
    assert "classification" in unmeasured(history(falling_loss(), **seen()), "class-imbalance")
    assert "end" in unmeasured(run({"0": 980, "1": 40}, {}, {}, status="running"), "class-imbalance")


def test_info_for_the_symbols_of_a_language():
    classes = {str(k): 500 for k in range(20)} | {"20": 60}
    present = dict.fromkeys(classes, 50) | {"20": 9}
    made = run(classes, present | {"20": 0}, present | {"20": 0}, present)
    made.set_layers([Layer("words", "Embedding", parameters=("words.weight",))])
    made.run["wiring"]["parameters"] = {"words.weight": [[21, 8], True, 0]}
    assert judged(made, "class-imbalance")[0].severity == "warning"  # one class a sample
    made.run["losses"][0]["target_shape"] = [32 * 16]
    assert judged(made, "class-imbalance")[0].severity == "info"
    made.run["wiring"]["parameters"] = {"words.weight": [[5000, 8], True, 0]}
    assert judged(made, "class-imbalance")[0].severity == "warning"  # tags of words


def test_sick_a_class_that_only_validation_has():
    made = run({"0": 500, "1": 480}, {"0": 30, "1": 30}, {"0": 30, "1": 30}, {"0": 30, "1": 30})
    made.run["losses"][0]["prediction_shape"] = [32, 3]
    made.run["dataset_size"] = 300
    made.run["data"]["validate"] = {"1": {"integers": True, "min": [0.0], "max": [2.0]}}
    (found,) = judged(made, "class-imbalance")
    assert (found.severity, "Class 2" in found.message) == ("warning", True)
    for harmless in ({"max": [1.0]}, {"max": [255.0]}, {"integers": False}):  # known, ignored, no classes
        made.run["data"]["validate"]["1"] = {"integers": True, "min": [0.0], "max": [2.0], **harmless}
        assert judged(made, "class-imbalance") == []
    made.run["data"]["validate"]["1"] = {"integers": True, "min": [0.0], "max": [2.0]}
    made.run["dataset_size"] = 3000  # it may just not have been looked at
    assert judged(made, "class-imbalance")[0].severity == "info"
