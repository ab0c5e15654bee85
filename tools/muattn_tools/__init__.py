"""What ./dev runs. A sub-package is a verb, or a part of one; PYTHONPATH=tools python -m muattn_tools.<sub-package>.<module>."""
