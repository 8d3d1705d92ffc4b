"""Curves read from events, and pictures that come out readable."""

import json

import numpy as np
import pytest
from PIL import Image
from run_folders import events, make_run, predictions

from plmc.errors import DataError, PlmcError
from plmc.report.plots import _broken, _running_mean, history, plot_predictions, plot_training
from plmc.results.record import StageResult

STAGES = [StageResult(**stage) for stage in ({"name": "inter", "steps": 30}, {"name": "pred", "steps": 30})]


def pixels(path):
    image = Image.open(path)
    # Small enough for the artifact view of a browser, large enough to be read there.
    assert 500 <= image.width <= 1300 and 400 <= image.height <= 1300
    return np.asarray(image.convert("RGB"))


def write_events(path, lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def metrics(step, **values):
    return {"kind": "metrics", "step": step, "time": 0.0, "values": values}


def test_a_resumed_run_counts_its_later_records(tmp_path):
    path = tmp_path / "events.jsonl"
    write_events(path, [metrics(1, loss=1.0), metrics(2, loss=9.0), {"kind": "resume"}, metrics(2, loss=2.0)])
    steps, values = history(path)["loss"]
    assert steps.tolist() == [1, 2] and values.tolist() == [1.0, 2.0]


def test_a_cut_last_line_is_forgiven_and_damage_elsewhere_is_not(tmp_path):
    path = tmp_path / "events.jsonl"
    write_events(path, [metrics(1, loss=1.0), '{"kind": "met'])
    assert history(path)["loss"][0].tolist() == [1]
    write_events(path, ['{"kind": "met', metrics(1, loss=1.0)])
    with pytest.raises(DataError, match="line 1"):
        history(path)
    with pytest.raises(DataError, match="missing"):
        history(tmp_path / "nothing.jsonl")


def test_a_term_that_pauses_for_a_stage_leaves_a_gap():
    curve = (np.array([1, 2, 7, 8]), np.array([1.0, 2.0, 3.0, 4.0]))
    steps, values = _broken(curve, np.array([3, 6, 9]))
    assert np.isnan(values).sum() == 2 and np.isnan(steps).sum() == 2
    assert values[~np.isnan(values)].tolist() == [1, 2, 3, 4]


def test_a_running_mean_stays_within_its_stage():
    values = np.array([1.0] * 10 + [np.nan] + [5.0] * 10)
    np.testing.assert_allclose(_running_mean(values, 5), values)


def test_training_curves_are_drawn(tmp_path):
    folder = make_run(tmp_path)
    events(folder, steps=120, boundary=30)
    curves = history(folder / "tracking" / "events.jsonl")
    plot_training(curves, tmp_path / "one.png", STAGES)
    plot_training({name: curve for name, curve in curves.items() if "hidden" not in name}, tmp_path / "two.png", STAGES)
    assert not np.array_equal(pixels(tmp_path / "one.png"), pixels(tmp_path / "two.png"))
    with pytest.raises(PlmcError, match="no loss"):
        plot_training({"lr": curves["lr"]}, tmp_path / "x.png", STAGES)


@pytest.mark.parametrize("kind", ["classification", "regression", "span"])
def test_each_kind_of_predictions_has_its_picture(tmp_path, kind):
    rng = np.random.default_rng(0)
    records = {
        "classification": predictions(0.8, 1),
        "regression": [
            {"id": i, "prediction": x, "label": x + 0.1 * rng.normal()} for i, x in enumerate(rng.random(50))
        ],
        "span": [{"id": i, "prediction": "", "label": [""], "exact_match": i % 2, "f1": 1.0} for i in range(50)],
    }[kind]
    plot_predictions(records, tmp_path / "p.png", ["no", "yes"])
    assert pixels(tmp_path / "p.png").std() > 1


def test_degenerate_predictions_are_drawn_too(tmp_path):
    plot_predictions([{"id": 0, "prediction": 1.0, "label": 1.0}] * 3, tmp_path / "flat.png")
    plot_predictions([{"id": 0, "prediction_id": 0, "label": 0}], tmp_path / "single.png", ["a", "b", "c"])
    assert pixels(tmp_path / "flat.png").size and pixels(tmp_path / "single.png").size


def test_unlabelled_predictions_are_refused(tmp_path):
    with pytest.raises(PlmcError, match="no labelled"):
        plot_predictions([{"id": 0, "prediction_id": 1}], tmp_path / "x.png")
