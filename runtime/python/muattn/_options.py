"""Options as the caller writes them, to what the extension takes. Every message names the argument."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

from ._muattn import causals


def choice(name, value, table):
    if isinstance(value, str) and value in table:
        return table[value]
    raise ValueError(f"{name} must be one of {', '.join(map(repr, table))}, not {value!r}")


def _is_bool(value):
    """Also NumPy's bools, and arrays and tensors of them."""
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))


def integer(name, value, bits=64):
    number = value
    if type(value) is not int:  # torch.compile may know an int as a symbol, which has no attributes
        try:
            number = operator.index(value)
        except TypeError:
            number = None
        if number is None or _is_bool(value):
            raise TypeError(f"{name} must be an integer, not {value!r}")
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise ValueError(f"{name} = {number} does not fit into {bits} bits")
    return number


def flag(name, value):
    if type(value).__name__ not in ("bool", "bool_"):  # Python's and NumPy's
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def base_width(d_base):
    """0, which is 'not given' in C, for None."""
    if d_base is None:
        return 0
    width = integer("d_base", d_base)
    if width < 1:
        raise ValueError(f"d_base must be at least 1, not {width}")
    return width


_LEAST_FLOAT32, _MOST_FLOAT32 = 2.0**-149, (2 - 2.0**-23) * 2.0**127


def _is_sequence(value):
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _entries(value):
    """The entries of a number, a sequence or an array of any rank."""
    if hasattr(value, "reshape"):
        return value.reshape(-1).tolist()
    return list(value) if _is_sequence(value) else [value]


def number(name, value):
    """A float, of a number or an array of one. Strings and complex numbers, which float() may take, are none."""
    if value is None:
        return None
    entry = value
    if type(value) is not float and type(value) is not int:
        if hasattr(value, "reshape"):
            entry = _entries(value)[0] if math.prod(value.shape) == 1 else None
        if _is_bool(value) or not hasattr(entry, "__float__") or isinstance(entry, (bool, str, complex)):
            raise TypeError(f"{name} must be a number, not {value!r}")
    try:
        found = float(entry)
    except OverflowError:
        raise ValueError(f"{name} does not fit into a float") from None
    if 0 < abs(found) < _LEAST_FLOAT32:
        raise ValueError(f"{name} = {found} would be 0 as a float32")
    if _MOST_FLOAT32 < abs(found) < math.inf:
        raise ValueError(f"{name} = {found} does not fit into a float32")
    return found


def factor(name, value):
    """0, which is 'not given' in C, for 1: it may stand beside what excludes it then."""
    found = number(name, value)
    if found is None or not found > 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")
    return 0.0 if found == 1 else found


def numbers(name, value):
    if value is None:
        return None
    entries = _entries(value)
    if len(entries) == 1:
        found = [number(name, entries[0])]
    else:
        found = [number(f"{name}[{i}]", x) for i, x in enumerate(entries)]
    if None in found:
        raise TypeError(f"{name} must be numbers, not {value!r}")
    if not found:
        raise ValueError(f"{name} is empty: give one number for each head")
    return found


def integers(name, value):
    return None if value is None else [integer(f"{name}[{i}]", x) for i, x in enumerate(_entries(value))]


def resolve_causal(causal):
    """(alignment, offset, offsets) of the C options. True and False, which are integers to Python, name no alignment."""
    if causal is None:
        return causals["none"], 0, None
    if isinstance(causal, str) and causal in ("top_left", "bottom_right"):
        return causals[causal], 0, None
    if _is_sequence(causal) or getattr(causal, "shape", ()) != ():
        return causals["offset"], 0, integers("causal", causal)
    if isinstance(causal, (bool, str)) or not hasattr(causal, "__index__"):
        raise ValueError(
            "causal must be None, 'top_left', 'bottom_right', an integer offset or one for each batch entry, "
            f"not {causal!r}" + ("; PyTorch's is_causal=True is 'top_left'" if causal is True else "")
        )
    return causals["offset"], integer("causal", causal), None


def resolve_window(window):
    """(left, right), where a negative side is open."""
    if window is None:
        return None
    try:
        left, right = window
    except (TypeError, ValueError):
        raise ValueError(f"window must be (left, right), not {window!r}") from None
    sides = [-1 if side is None else integer(f"window[{i}]", side) for i, side in enumerate((left, right))]
    if any(given is not None and side < 0 for given, side in zip((left, right), sides)):
        raise ValueError(f"window's sides must be at least 0, or None for open, not {window!r}")
    return tuple(sides)


def pair(name, value):
    """(None, None) for None."""
    if value is None:
        return None, None
    if not isinstance(value, (tuple, list)) or len(value) != 2 or value[0] is None or value[1] is None:
        raise TypeError(f"{name} must be a pair of arrays, or None, not {type(value).__qualname__}")
    return tuple(value)
