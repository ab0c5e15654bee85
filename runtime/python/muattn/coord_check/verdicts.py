"""When a size is stable as the width grows: the rule, in one place, and what each verdict means.

The rule looks at the slope of log size against log width in the last quarter of the steps, and at its 95 % confidence interval:

  grows      the slope is above 0.2, and the whole interval above 0.1; or a size is not finite
  vanishes   the slope is below -0.2, and the whole interval below -0.1
  stable     the slope is within 0.2 of 0, and the whole interval within 0.5: what is wrong in a parametrization is mostly a power of width,
             and width^1/2 the smallest
  not clear  anything else; and logits that training has changed by less than a factor of 2 at every width: they begin flat with 1/sqrt(d) left
             in, and fall with 1/d; the slope of the former passes 0.2 at about that change, at whatever learning rate (0.16 at a factor of
             1.8, 0.22 at 2.3, 0.28 at 2.9)

What independent random numbers add up to may fall as width^-1/2 before training has made them agree: logits of queries and keys that
know nothing of each other, a mean over channels. So where the size begins with a slope between -0.2 and -0.7, a late slope counts as
vanishing only if it is more than 0.2 below that; where it is above, and not yet within 0.2 of 0, training has not taken over: not clear.
"""

from __future__ import annotations

import math
from typing import Literal

from .fits import Fit

Verdict = Literal["stable", "grows", "vanishes", "not clear"]

TOLERANCE = 0.2
CERTAIN = 0.1
SMALLEST_POWER = 0.5
RANDOM_FALL = -0.7  # width^-1/2, and the tolerance
LEAST_CHANGE = 2  # of logits

WHY = {
    ("logits", "stable"): "the softmax is as sharp at every width",
    ("logits", "grows"): "the wider the model, the sharper its softmax: attention saturates, and its gradients with it",
    ("logits", "vanishes"): "the wider the model, the closer its attention to a plain mean: it learns nothing to look at",
    ("attention output", "stable"): "attention says as much at every width",
    ("attention output", "grows"): "in wide models attention drowns what else the block adds",
    ("attention output", "vanishes"): "in wide models attention adds nothing: they train as if they had none",
    ("block output", "stable"): "features move as much at every width",
    ("block output", "grows"): "a learning rate that suits a narrow model blows up a wide one",
    ("block output", "vanishes"): "wide models stop learning features",
    ("network output", "stable"): "a step changes the prediction as much at every width",
    ("network output", "grows"): "a step that suits a narrow model throws a wide one's predictions about",
    ("network output", "vanishes"): "wide models hardly change what they predict",
}
NO_INTERVAL = "a size is 0, or there is but one seed, which has no interval: more seeds"
NOT_TRAINED = "training has not taken over yet: more steps, or a larger learning rate"
TOO_WIDE = "the interval is too wide: more seeds, or wider and more widths"


def judge(first: Fit, late: Fit, finite: bool = True, change: float = math.inf) -> tuple[Verdict, str]:
    """The verdict, and where it is 'not clear' why. first: at initialisation, without a slope where the size is 0 then. finite: whether all late
    sizes are. change: by what factor training has made the size larger or smaller, where it has to, at the width where it did most."""
    if not finite:
        return "grows", ""
    if not math.isfinite(late.margin):
        return "not clear", NO_INTERVAL
    if change < LEAST_CHANGE:
        return "not clear", NOT_TRAINED
    if abs(late.slope) <= TOLERANCE:
        return ("stable", "") if -SMALLEST_POWER < late.low and late.high < SMALLEST_POWER else ("not clear", TOO_WIDE)
    if late.slope > 0:
        return ("grows", "") if late.low > CERTAIN else ("not clear", TOO_WIDE)
    if RANDOM_FALL <= first.slope < -TOLERANCE and late.slope >= first.slope - TOLERANCE:
        return "not clear", NOT_TRAINED
    return ("vanishes", "") if late.high < -CERTAIN else ("not clear", TOO_WIDE)
