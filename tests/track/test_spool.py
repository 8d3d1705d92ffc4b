"""The spool keeps whole events through crashes and knows what has been sent."""

import errno
import json
import os

import pytest

from plmc.errors import TrainingError
from plmc.track.send import MAX_METRICS, batches
from plmc.track.spool import LANES, Spool, all_sent, read_marks


def metric(step, **values):
    return {"kind": "metrics", "step": step, "time": step, "values": values or {"loss": 1.0}}


def artifact(name="a"):
    return {"kind": "artifact", "staged": name, "folder": ""}


def test_what_is_appended_is_read_back_by_another_spool(tmp_path):
    first = Spool(tmp_path)
    events = [metric(0), artifact(), {"kind": "params", "values": {"method": "kd → gmp"}}, metric(1)]
    for event in events:
        first.append(event)
    second = Spool(tmp_path)
    assert [event for event, _ in second.events()] == events
    assert second.pending == 4
    assert [second._unsent[lane] for lane in LANES] == [3, 1]


@pytest.mark.parametrize("kept", [1, 10, -1])
def test_a_torn_last_line_is_cut_off_and_overwritten(tmp_path, kept):
    spool = Spool(tmp_path)
    spool.append(metric(0))
    whole = spool.file.read_bytes()
    torn = json.dumps(metric(1)).encode() + b"\n"
    spool.file.write_bytes(whole + torn[:kept])
    again = Spool(tmp_path)
    assert again.file.read_bytes() == whole
    again.append(metric(2))
    assert [event["step"] for event, _ in again.events()] == [0, 2]


def test_a_damaged_line_in_the_middle_costs_that_line_only(tmp_path):
    spool = Spool(tmp_path)
    spool.append(metric(0))
    with spool.file.open("ab") as file:
        file.write(b"\0\0\0\0\n")
    spool = Spool(tmp_path)
    spool.append(metric(1))
    assert [event["step"] for event, _ in spool.events()] == [0, 1]
    assert spool.pending == 2


def test_marks_survive_and_lanes_are_independent(tmp_path):
    spool = Spool(tmp_path)
    for event in (metric(0), artifact(), metric(1), metric(2)):
        spool.append(event)
    values = list(spool.unsent("values"))
    spool.mark("values", values[1][1], 2)
    spool = Spool(tmp_path)
    assert [event["step"] for event, _ in spool.unsent("values")] == [2]
    assert spool._unsent["files"] == 1
    assert not all_sent(tmp_path)
    for lane in LANES:
        spool.mark(lane, list(spool.unsent(lane))[-1][1], spool._unsent[lane])
    assert spool.pending == 0 and all_sent(tmp_path)
    spool.rewind()
    assert spool.pending == 4 and not all_sent(tmp_path)


def test_marks_never_lie_behind_the_end(tmp_path):
    spool = Spool(tmp_path)
    spool.append(metric(0))
    end = spool.file.stat().st_size
    spool.append(metric(1))
    spool.mark("values", spool.file.stat().st_size, 2)
    os.truncate(spool.file, end)
    assert read_marks(tmp_path) == dict.fromkeys(LANES, end)


def test_a_full_disk_leaves_no_half_event(tmp_path, monkeypatch):
    spool = Spool(tmp_path)
    spool.append(metric(0))
    before = spool.file.read_bytes()
    real = os.write

    def write(descriptor, data):
        real(descriptor, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("plmc.track.spool.os.write", write)
    with pytest.raises(TrainingError, match="Free some space"):
        spool.append(metric(1))
    monkeypatch.undo()
    assert spool.file.read_bytes() == before
    spool.append(metric(2))
    assert [event["step"] for event, _ in Spool(tmp_path).events()] == [0, 2]


def test_batches_keep_order_and_limits(tmp_path):
    spool = Spool(tmp_path)
    wide = {f"m{i}": 1.0 for i in range(300)}
    events = [metric(step, **wide) for step in range(8)] + [{"kind": "status", "status": "FINISHED"}, metric(9)]
    for event in events:
        spool.append(event)
    made = list(batches(spool.unsent("values")))
    assert [event for batch in made for event, _ in batch] == events
    for batch in made:
        kinds = {event["kind"] for event, _ in batch}
        assert kinds == {"metrics"} or len(batch) == 1
        assert sum(len(event.get("values", ())) for event, _ in batch) <= MAX_METRICS
    assert [len(batch) for batch in made] == [3, 3, 2, 1, 1]
