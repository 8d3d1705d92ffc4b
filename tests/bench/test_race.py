"""Turns, statistics, energy counters, pinning: what the figures rest on."""

import os

import numpy as np
import pytest
from bench_tools import feeds, sleeper

from plmc.benchmark.inputs import Case
from plmc.benchmark.statistics import per_second, percentiles, ratio
from plmc.benchmark.timing import race
from plmc.errors import ConfigError
from plmc.measure import host
from plmc.measure.energy import Meter, per_row


def case(contenders, batches=4):
    return Case(1, "4", (feeds(batches),) * contenders, (np.full(batches, 4),) * contenders)


def test_contenders_take_turns_on_every_batch_and_the_order_rotates():
    log = []
    race(case(3), [sleeper(0, log, name) for name in "abc"], rounds=3, warmup=0)
    # Every timed call stands right behind one of the same contender that is not timed.
    assert log[::2] == log[1::2]
    timed = log[1::2]
    turns = ["".join(timed[i : i + 3]) for i in range(0, len(timed), 3)]
    assert len(turns) == 12 and all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert {turn[0] for turn in turns} == {"a", "b", "c"}


def test_a_slow_contender_is_slower_by_the_clock_and_not_by_cpu_time():
    # Far enough apart for a busy machine, whose sleeps last some milliseconds longer.
    fast, slow = race(case(2), [sleeper(0.2), sleeper(30)], rounds=3)
    assert ratio(slow.wall, fast.wall).value > 2
    # Sleeping costs no CPU.
    assert slow.cpu.sum() < 0.3 * slow.wall.sum()


def test_the_time_limit_leaves_three_rounds():
    (times,) = race(case(1), [sleeper(1)], rounds=50, seconds=1e-9)
    assert len(times.wall) == 3


def test_no_round_is_refused():
    with pytest.raises(ConfigError, match="--rounds 0"):
        race(case(1), [sleeper(0)], rounds=0)


def test_a_ratio_is_of_sums_of_medians_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    base = np.array([1.0, 5.0, 9.0])
    noise = 1 + 0.1 * rng.random((20, 3))
    found = ratio(4 * base * noise, base * noise)
    assert found.value == pytest.approx(4) and found.low == pytest.approx(4) and found.high == pytest.approx(4)
    found = ratio(4 * base * noise, base * noise[::-1])
    assert found.low < found.value < found.high and found.low > 3.5


def test_one_outlier_moves_neither_ratio_nor_rate():
    times = np.full((9, 2), 0.01)
    spoiled = times.copy()
    spoiled[3] = 5.0
    assert ratio(spoiled, times).value == pytest.approx(1)
    assert per_second(spoiled, 8) == pytest.approx(8 / 0.02)
    assert percentiles(spoiled)["p50_ms"] == pytest.approx(10) and percentiles(spoiled)["p99_ms"] > 1000


def test_one_round_has_no_interval_and_unequal_rounds_no_ratio():
    assert ratio(np.ones((1, 2)), np.ones((1, 2))).low is None
    with pytest.raises(ValueError, match="different rounds"):
        ratio(np.ones((2, 2)), np.ones((3, 2)))


def counters(root, energy, limit=1000):
    for name, value in energy.items():
        (root / name).mkdir(exist_ok=True)
        (root / name / "energy_uj").write_text(str(value))
        (root / name / "max_energy_range_uj").write_text(str(limit))


def test_energy_counts_packages_once_and_survives_a_counter_that_wraps(tmp_path):
    counters(tmp_path, {"intel-rapl:0": 900, "intel-rapl:0:0": 5, "intel-rapl:1": 10})
    meter = Meter(tmp_path)
    before = meter.read()
    assert before == [900, 10]
    counters(tmp_path, {"intel-rapl:0": 100, "intel-rapl:0:0": 900, "intel-rapl:1": 60})
    assert meter.joules(before, meter.read()) == pytest.approx((200 + 50) / 1e6)


def test_energy_is_said_to_be_missing_where_it_is(tmp_path):
    assert Meter(tmp_path).reason == "the machine shows no energy counters"
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("no number")
    meter = Meter(tmp_path)
    assert "cannot be read" in meter.reason and per_row(meter, sleeper(0), feeds(1)) is None


def test_energy_is_divided_by_all_rows(tmp_path):
    counters(tmp_path, {"intel-rapl:0": 0}, limit=10**9)
    spent = []

    class Burner:
        def run(self, feed):
            spent.append(len(feed["input_ids"]))
            counters(tmp_path, {"intel-rapl:0": 3_000_000 * sum(spent)}, limit=10**9)

    assert per_row(Meter(tmp_path), Burner(), feeds(3, batch=2), seconds=0.01) == pytest.approx(3.0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins nothing")
def test_pinning_takes_as_many_cores_as_threads_and_gives_them_back():
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one core only")
    with host.pinned(1) as cores:
        assert len(cores) == 1 and os.sched_getaffinity(0) == set(cores)
    assert os.sched_getaffinity(0) == before
    with host.pinned(len(before)) as cores:
        assert cores is None


def test_instruction_sets_are_read_from_the_flags():
    text = "model name: x\nflags\t: fpu avx2 avx512_bf16 amx_int8\n"
    assert host.instruction_sets(text) == ["avx2", "avx512_bf16", "amx_int8"]
    assert host.instruction_sets("nothing") == []


def test_the_load_counts_others_and_not_ourselves():
    load = host.Load()
    sum(i * i for i in range(200_000))
    found = load.stop()
    assert 0 <= found["other_cores"] <= os.cpu_count() and found["load_after"] >= 0


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_narrow_terminal_keeps_models_and_all_that_was_measured(width):
    from rich.console import Console

    from plmc.report.speed import SPEED_HEADS
    from plmc.report.tables import Figures

    rows = [
        [
            f"kd-sst2-1 torch {kind}",
            "12.34",
            "23.45",
            "34.56",
            "123",
            "1.00 [1.00, 1.00]",
            "1.01 [0.98, 1.02]",
            "11.20",
            "0.271",
            "",
        ]
        for kind in ("fp32", "bf16")
    ]
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    console.print(Figures(SPEED_HEADS, rows, "batch 1"))
    text = console.export_text()
    assert "…" not in text and "p50 ms" in text and "times as fast" in text
    assert "kd-sst2-1 torch bf16" in text
    assert "GMACs/row" in text and "J/row" not in text
    assert max(map(len, text.splitlines())) <= width
