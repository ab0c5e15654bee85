"""Gradients by their formulas; and slopes of the float64 forward pass, which know no formula."""

from muattn_tools.reference_gradients import attention_map, channel, spatial, spatial_forward  # noqa: F401: for the tests


def slope(loss, inputs, directions, step=1e-5):
    """Of a loss, along directions: a central difference of fourth order."""

    def at(h):
        return loss(**{name: x + h * directions[name] if name in directions else x for name, x in inputs.items()})

    return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
