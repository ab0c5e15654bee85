from __future__ import annotations

import generate
import pytest


@pytest.fixture(autouse=True)
def builds(tmp_path_factory, monkeypatch):
    """Builds of the tests' own, kept from test to test."""
    monkeypatch.setattr(generate, "BUILDS", tmp_path_factory.getbasetemp() / "builds")
