"""python -m muattn.transfer, on settings so small that they say nothing of muP."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from muattn.proving import origin
from muattn.transfer import plan, runs
from muattn.transfer.__main__ import main
from muattn.transfer.arguments import command_line
from muattn.transfer.plan import Run, Setting, runs_of
from muattn.transfer.runs import Finished
from muattn.transfer.table import Panel, facts, markdown, mean

RUN = Run("spatial", "mup", 32, 2**-6, 0, steps=3, batch=2)
TINY = ["--steps", "2", "--lrs", "2^-7,2^-6", "--threads", "1"]
INF = math.inf


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def panel(rows, widths=(32, 64, 128), lrs=(2**-8, 2**-7, 2**-6, 2**-5), rule="sp"):
    return Panel("spatial", rule, widths, lrs, {(w, lr): loss for w, row in zip(widths, rows) for lr, loss in zip(lrs, row)})


def test_what_losses_say():
    moves = panel([[4, 3, 2, 2.5], [3, 2, 1.9, 4], [2, 1, 1.5, INF]])
    assert [moves.best(width) for width in moves.widths] == [2, 2, 1]
    assert (moves.move(), moves.at_base_rate(), moves.wider_is_better(), moves.diverged()) == (-1, [2, 1.9, 1.5], True, 1)
    assert not any(moves.at_edge(width) for width in moves.widths)
    worse = panel([[4, 3, 2, 1], [3, 2, 1, 2], [2, 1, 1.5, 3]])
    assert (worse.move(), worse.at_base_rate(), worse.wider_is_better(), worse.at_edge(32)) == (-2, [1, 2, 3], False, True)
    assert panel([[1, 1, 2, 3]] * 3).best(32) == 0 and not panel([[2, 1, 2, 3]] * 3).wider_is_better()


def test_losses_where_runs_diverged():
    none = panel([[INF] * 4, [3, 2, 1, 2], [2, 1, 1.5, 3]])
    assert (none.best(32), none.move(), none.at_base_rate(), none.wider_is_better(), none.at_edge(32)) == (None, None, None, False, False)
    wide = panel([[3, 2, 1, 2], [2, 1, 0.5, 3], [2, 1, INF, INF]])
    assert (wide.move(), wide.at_base_rate(), wide.wider_is_better()) == (-1, [1, 0.5, INF], False)
    assert facts(wide)["at_base_rate"] == [1, 0.5, None] and facts(wide)["losses"][2] == [2, 1, None, None]
    assert json.dumps([facts(none), facts(wide)], allow_nan=False)
    assert mean([1.0, 2.0]) == 1.5 and mean([1.0, None]) == INF


def test_the_table():
    text = markdown([panel([[4, 3, 2, 2.5], [3, 2, 1.9, 4], [2, 1, 1.5, INF]]), panel([[INF] * 4, [3, 2, 1, 2], [2, 1, 1.5, 3]], rule="mup")])
    assert text.splitlines()[2:] == [
        "| sp | 2^-6 | 2^-6 | 2^-7 | -1 | 2.000 | 1.900 | 1.500 | yes | 1 of 12 |",
        "| mup | diverged | 2^-6 | 2^-7 | - | diverged | diverged | diverged | no | 4 of 12 |",
    ]
    assert all(line.count("|") == 11 for line in text.splitlines())
    assert "| 2^-5 (edge) |" in markdown([panel([[4, 3, 2, 1]] * 3)])
    assert (plan.rate_text(2**-11), plan.rate_text(0.003)) == ("2^-11", "0.003")


def test_runs_are_the_same_each_time():
    assert runs.perform(RUN, lambda step: None) == runs.perform(RUN, lambda step: None)


def test_a_run_that_diverges():
    assert runs.perform(Run("channel", "sp", 32, 1e30, 0, steps=20, batch=2), lambda step: None) is None


def test_finished_runs_are_kept(tmp_path):
    path, machine = tmp_path / "runs.jsonl", {"device": "a"}
    finished = Finished(path, machine)
    assert RUN not in finished
    finished.finish(RUN)
    again = Finished(path, machine)
    assert again[RUN] == finished[RUN] and finished[RUN].loss > 0
    for other in (Run("spatial", "mup", 32, 2**-6, 0, 4, 2), Run("spatial", "sp", 32, 2**-6, 0, 3, 2), Run("spatial", "mup", 32, 2**-6, 1, 3, 2)):
        assert other not in again
    assert RUN not in Finished(path, {"device": "b"})


def test_half_a_line_is_no_run(tmp_path):
    """The program was ended while it wrote; what is written next is whole."""
    path = tmp_path / "runs.jsonl"
    path.write_text('{"run": {"operation": "spat')
    Finished(path, {}).finish(RUN)
    assert RUN in Finished(path, {})


def test_goes_on_after_an_interruption(tmp_path, monkeypatch, capsys):
    words = ["--operation", "channel", "--rule", "mup", "--widths", "32,64", "--out", str(tmp_path), *TINY]
    performed = []

    def perform(run, on_step):
        if len(performed) == 3:
            raise KeyboardInterrupt
        performed.append(run)
        return 1.0 / run.width

    monkeypatch.setattr(runs, "perform", perform)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 130 and len(performed) == 3 and "goes on where it was" in capsys.readouterr().err
    performed += [None]  # counted past 3
    main(words)
    done = [run for run in performed if run]
    assert len(done) == 4 == len(set(done))
    main(words)
    assert len(performed) == 5
    main([*words[:-6], "--steps", "3", *words[-4:]])  # another setting is a new set
    assert len(performed) == 9


def test_files(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "muattn.transfer", "--quick", "--steps", "2", "--threads", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "transfer: " in done.stderr and "| spatial attention |" in done.stdout and "| channel attention |" in done.stdout
    (table,), (results,), (picture,) = (list(tmp_path.glob(f"*-transfer.{ending}")) for ending in ("md", "json", "png"))
    assert table.read_text() in done.stdout and picture.read_bytes().startswith(b"\x89PNG")
    kept = json.loads(results.read_text())
    assert [(each["operation"], each["rule"]) for each in kept["panels"]] == [(name, rule) for name in plan.SHOWN for rule in plan.SHOWN[name]]
    assert len(kept["runs"]) == 2 * 3 * 2 * 4 and kept["threads"] == 1 and kept["versions"]["mup"]
    assert kept["command"] == "python -m muattn.transfer --quick --steps 2 --threads 1"
    assert str(tmp_path) not in results.read_text() + table.read_text()
    assert all(each["losses"][0] == kept["panels"][0]["losses"][0] for each in kept["panels"][:3])  # at the base width


@pytest.mark.parametrize("words, message", [
    (["--rule", "mup_mean", "--operation", "spatial"], "--rule must be of sp, mup, mup_sqrt, mup_heads, umup, not 'mup_mean'"),
    (["--rule", "mup,"], "must be names with commas between them, not 'mup,'"),
    (["--rule", "mup", "--widths", "30,64"], "width (30) must be a multiple of 4"),
    (["--lrs", "2^-3,x"], "learning rates must be numbers above 0, as 0.01 or 2^-7, not 'x'"),
    (["--lrs", "-1"], "not '-1'"),
    (["--lrs", "0"], "not '0'"),
    (["--lrs", "nan"], "not 'nan'"),
    (["--lrs", "2^9999"], "not '2^9999'"),
    (["--steps", "0"], "must be a whole number from 1, not '0'"),
    (["--widths", "32,x"], "must be a whole number from 1, not 'x'"),
    (["--operation", "both"], "invalid choice: 'both'"),
    (["--out", "/dev/null/x"], "Not a directory"),
])  # fmt: skip
def test_refusals(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and said.count("\n") == 1


def test_missing_packages(monkeypatch, capsys):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else found(name, *rest))
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().err == "transfer: this needs packages that are not installed: pip install matplotlib\n"


def test_options_change_the_plan():
    setting = Setting((32, 64), (0.5, 1.0), steps=7, batch=3, seeds=2)
    assert len(runs_of("spatial", "sp", setting)) == 8 == len(set(runs_of("spatial", "sp", setting)))
    arguments = command_line().parse_args(["--widths", "64,32,64", "--lrs", "2^-6,0.5,2^-7"])
    assert (arguments.widths, arguments.lrs) == ((32, 64), (2**-7, 2**-6, 0.5))


def test_where_results_come_from():
    kept = origin.origin()
    assert kept["device"] and kept["backend"] and set(kept["versions"]) == {"muattn", "torch", "mup", "python"}
    assert origin.command("m", ["--out", "/a", "--quick", "--out=/b"]) == "python -m m --quick"
    assert origin.file_stem("2026-01-02", "Intel(R) Xeon(R) @ 2.00GHz", "avx2") == "2026-01-02-Intel-Xeon-2.00GHz-avx2"
