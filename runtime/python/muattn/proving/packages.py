"""Packages that muattn itself does not need."""

from __future__ import annotations

import importlib.util

_MODULES = {"scikit-learn": "sklearn"}  # where it is not the package's name


def need(*packages: str) -> None:
    """ImportError, with the line that installs them, if any of these is not there."""
    missing = [name for name in packages if importlib.util.find_spec(_MODULES.get(name, name)) is None]
    if missing:
        raise ImportError(f"this needs packages that are not installed: pip install {' '.join(missing)}")
