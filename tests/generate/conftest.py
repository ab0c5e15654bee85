from __future__ import annotations

import pytest
from muattn_tools.generate import target_libraries


@pytest.fixture(autouse=True)
def builds(tmp_path_factory, monkeypatch):
    """Builds of the tests' own, kept from test to test."""
    monkeypatch.setattr(target_libraries, "BUILDS", tmp_path_factory.getbasetemp() / "builds")
