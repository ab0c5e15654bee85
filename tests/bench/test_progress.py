"""What a log has of a long command, what a terminal shows of its tables, and when the machine counts as busy."""

import re
import threading

import pytest
from muattn_tools.machine_load import busy_line
from muattn_tools.progress import Steps, Ticker
from muattn_tools.show_markdown import show_markdown


def test_without_a_terminal_lines_say_how_far_it_is(capsys):
    with Steps("bench", 3) as steps:
        steps.at(1, "spatial/plain")
        steps.advance()
        steps._line()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "bench: 0 of 3"
    assert re.fullmatch(r"bench: 2 of 3(, \d+:\d\d)?: spatial/plain", lines[1])


def test_a_ticker_calls_until_it_ends():
    calls, third = [], threading.Event()

    def call():
        calls.append(1)
        if len(calls) == 3:
            third.set()

    with Ticker(call, seconds=0.001):
        assert third.wait(30)
    assert not any(thread.daemon and thread.is_alive() for thread in threading.enumerate())


@pytest.mark.parametrize("average, count, busy", [(0.4, 2, False), (0.6, 2, True), (3.0, 16, False), (5.0, 16, True)])
def test_a_quarter_of_the_processors_is_busy(average, count, busy):
    line = busy_line(average, count)
    assert (line is not None) is busy
    assert not busy or f"{average:.1f} processes" in line and f"{count} processors" in line


def test_a_table_wider_than_the_terminal_keeps_its_cells(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shape, peer = "spatial/" + "x" * 60, "1.15 (" + "y" * 40 + ")"
    show_markdown(f"Some *words*.\n\n| shape | a peer |\n|---|---|\n| {shape} | {peer} |\n\n- a note\n")
    lines = capsys.readouterr().out.splitlines()
    assert any(shape in line and peer in line for line in lines)
    assert lines[0].strip() == "Some words." and any("a note" in line for line in lines)
