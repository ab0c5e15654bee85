"""A test that needs a group of packages is skipped where any of them is missing, and not where all are there."""

from __future__ import annotations

import pytest
from packages import group, missing, needs


@pytest.fixture
def dpkg(tmp_path, monkeypatch):
    """A dpkg-query that knows these packages alone."""

    def installed(names):
        (tmp_path / "dpkg-query").write_text(f"#!/bin/sh\ncase ' {' '.join(names)} ' in *\" $4 \"*) printf 'ii ' ;; *) exit 1 ;; esac\n")
        (tmp_path / "dpkg-query").chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    return installed


@pytest.mark.parametrize("name", ["wasm32", "riscv64"])
def test_all_of_a_group_are_asked_for(dpkg, name):
    assert missing(name) == group(name)  # there is no dpkg at all
    dpkg(group(name))
    assert missing(name) == [] and needs(name).args == (False,)
    for package in group(name):
        dpkg([other for other in group(name) if other != package])
        assert missing(name) == [package] and needs(name).args == (True,)
        assert needs(name).kwargs["reason"] == f"missing: {package}; ./dev test --target {name} installs them"
