"""What is wrong with an attention's scale, as far as the record of its calls tells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .collect import Facts

EXACT = 0.02  # how far a power or a factor may be from what a rule makes it


class Finding(NamedTuple):
    """kind      "scale": how the logits' scale depends on d; "d_base": the base model's is another than the rule was given; "alpha": the scale
                 is a multiple of the rule's; "qk_norm": a norm of queries or keys that nothing calls; "logit_bound": logits above what the
                 user says they are bounded by; "channel_mean": the output multiplier of channel attention makes its output vanish; "not_seen":
                 at some width nothing called muattn, so that its logits are not in the check
    modules   names of the attention modules
    message   a sentence or two
    wrong     whether that is a mistake, and not only what the user may have meant
    """

    kind: str
    modules: tuple[str, ...]
    message: str
    wrong: bool = True


def diagnose(facts: Mapping[int, Mapping[str, Facts]], vanishing_attention: bool, greatest_logit: float, max_logit: float | None) -> list[Finding]:
    """facts: by width and attention module."""
    found: dict[tuple[str, str, bool], list[str]] = {}
    for name in dict.fromkeys(name for of_width in facts.values() for name in of_width):
        at = {width: of_width[name] for width, of_width in facts.items() if name in of_width}
        for kind, message, wrong in (*_of_scale(at), *_of_norms(at), *(_of_channels(at) if vanishing_attention else ())):
            found.setdefault((kind, message, wrong), []).append(name)
    findings = [Finding(kind, tuple(names), message, wrong) for (kind, message, wrong), names in found.items()]
    if max_logit is not None and greatest_logit > max_logit:
        findings.append(Finding("logit_bound", (), f"the greatest logit is {greatest_logit:.4g}, above max_logit = {max_logit:.4g}"))
    unseen = [str(width) for width, of_width in facts.items() if not of_width]
    if unseen:
        text = f"nothing called muattn at width {', '.join(unseen)}: logits and attention output there are not in the check"
        findings.append(Finding("not_seen", (), f"{text}; muattn.torch.enable_sdpa() or a drop-in brings a model's attention to it, without dropout"))
    return findings


def _of_scale(at):
    """at: by width. (kind, message, wrong) of each finding, as all of these functions."""
    scales = [fact.scale for fact in at.values()]
    if len(at) < 2 or min(scales) <= 0:
        return []
    ds = [fact.d for fact in at.values()]
    if len(set(ds)) < 2:
        if max(scales) / min(scales) > 1 + EXACT:
            change = f"from {scales[0]:.4g} to {scales[-1]:.4g}"
            return [("scale", f"the scale changes with width, {change}, while d is {ds[0]} at every width: it should be one number", True)]
        return []
    power, error = _power(ds, scales)
    is_mup = all(fact.width_mult is not None for fact in at.values())
    if next(iter(at.values())).operation == "channel_attention":
        if abs(power) > EXACT:
            return [("scale", f"the scale of channel attention goes as d^{power:.2f}: its logits are sums over tokens, so it should not depend on d", True)]
        return []
    if error > EXACT:
        return [("scale", f"the scale is no power of d; nearest is d^{power:.2f}", False)]
    if abs(power + 0.5) < EXACT:
        return [_of_square_root(at, is_mup)]
    if abs(power + 1) < EXACT:
        return _of_inverse(at)
    if abs(power) < EXACT:
        return [("scale", "the scale does not depend on d: the logits are bounded only if queries and keys are normalised", False)]
    return [("scale", f"the scale goes as d^{power:.2f}: right if that power is meant; muP's own is -1", False)]


def _power(ds, scales):
    """(power, error) of scale = constant d^power."""
    x, y = np.log(ds), np.log(scales)
    power, constant = np.polyfit(x, y, 1)
    return float(power), float(np.abs(y - power * x - constant).max())


def _of_square_root(at, is_mup):
    if all(fact.scaling == "mup" and fact.d_base == fact.d for fact in at.values()):
        return "d_base", (
            "d_base is the module's own d at every width, so that sqrt(d_base)/d is 1/sqrt(d): give muattn.torch.set_base(model, base) "
            "the base model, not the model itself"
        ), True
    if is_mup:
        return "scale", "1/sqrt(d) is left in: the scale falls as d^-1/2, and everything else is muP's; muP wants 1/d", True
    return "scale", "the scale falls as d^-1/2, as standard parametrization has it", False


def _of_inverse(at):
    """The scale is c / d. In the base model it would be 1/sqrt(d_base) without an alpha."""
    fact = next(iter(at.values()))
    c = math.exp(np.mean([math.log(fact.scale * fact.d) for fact in at.values()]))
    bases = {round(fact.d / fact.width_mult, 2) for fact in at.values() if fact.width_mult}
    if len(bases) != 1 or fact.scaling == "umup":
        return []
    [base] = bases
    alpha = c / math.sqrt(base)
    if abs(alpha - 1) < EXACT or (fact.alpha is not None and abs(alpha / fact.alpha - 1) < EXACT):
        return []
    text = f"the scale is {alpha:.3g} times sqrt(d_base)/d, where mup's base shapes say that d_base is {base:g}"
    if fact.scaling == "mup" and fact.d_base != base:
        how = "it was not given" if fact.d_base is None else f"the module has d_base = {fact.d_base}"
        return [("d_base", f"{text}: {how}; muattn.torch.set_base(model, base) sets it", True)]
    return [("alpha", f"{text}: if no alpha is meant, that is a wrong d_base, or 1/d without one", False)]


def _of_norms(at):
    names = next(iter(at.values())).idle_norms
    if not names:
        return []
    return [("qk_norm", f"QK-norm is configured and never applied: nothing calls {', '.join(names)}; the logits are not bounded", True)]


def _of_channels(at):
    if all(fact.operation == "channel_attention" and fact.scaling == "mup" for fact in at.values()):
        return [("channel_mean", 'scaling="mup" divides by d / d_base what is already a mean over d channels: "mup_mean" does not', True)]
    return []
