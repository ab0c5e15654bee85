"""The demo's own check: it passes as things are, and fails when a kernel's result is wrong."""

import functools
import pathlib

import muattn
import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")


@functools.cache
def _photograph():
    from photograph import Photograph

    return Photograph()


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[2] / "demo")
    import demo
    import measure

    monkeypatch.setattr(demo, "WIDTHS", [32, 64])
    monkeypatch.setattr(demo, "Photograph", _photograph)
    monkeypatch.setattr(measure, "_best_time", lambda call: 1.0)
    return demo


def test_the_demo_passes_and_draws(demo, tmp_path, capsys):
    assert demo.main(["--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(demo.PICTURES)
    printed = capsys.readouterr()
    assert "WRONG" not in printed.err
    assert printed.out.count("1184") == len(demo.RULES) * len(demo.WIDTHS)


def _other_scale(function):
    """A logit scale that is off by 1 %."""

    def wrong(q, k, v, *, scaling="sp", d_base=None, **options):
        if function is muattn.spatial_attention:
            scale = muattn.spatial_scale(scaling, q.shape[3], d_base)
        else:
            scale = muattn.channel_scale(scaling, q.shape[2])
        return function(q, k, v, scaling=scaling, d_base=d_base, scale=1.01 * scale, **options)

    return wrong


def _one_value(value):
    """One output element replaced."""

    def breaking(function):
        def wrong(*arrays, **options):
            out = function(*arrays, **options)
            out[0, 0, 5, 7] = value
            return out

        return wrong

    return breaking


@pytest.mark.parametrize("operator", ["spatial", "channel"])
@pytest.mark.parametrize("breaking", [_other_scale, _one_value(np.nan), _one_value(9)], ids=["scale", "nan", "element"])
def test_a_wrong_result_fails_the_demo(demo, monkeypatch, tmp_path, capsys, operator, breaking):
    name = f"{operator}_attention"
    wrong = breaking(getattr(muattn, name))
    monkeypatch.setattr(demo, "WIDTHS", [32])
    monkeypatch.setattr(demo, "PICTURES", {})
    monkeypatch.setattr(muattn, name, wrong)
    assert demo.main(["--out", str(tmp_path)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "WRONG RESULT" in line]
    assert len(lines) == 4 * len(demo.WIDTHS)
    assert all(f"{operator} attention" in line for line in lines)
