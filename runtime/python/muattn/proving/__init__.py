"""What the coordinate check and the transfer of learning rates share: small models of both attentions, real data, and rules of
parametrization that they are made under.

    model = make_model("spatial", "mup", width=128)
    optimizer = make_optimizer(model, "mup", lr=2**-7)
    for loss in train(model, optimizer, batches("spatial", seed=0), steps=100): ...

parametrize.py is what a model of one's own has to do to be one of muP.
"""

from .packages import need

need("torch", "mup", "scikit-learn")

from .data import batches  # noqa: E402: a missing package is said first
from .models import DigitsModel, TextModel  # noqa: E402
from .parametrize import OPERATIONS, RULES, Rule, make_model, make_optimizer  # noqa: E402
from .training import loss_of, train  # noqa: E402

__all__ = ["OPERATIONS", "RULES", "DigitsModel", "Rule", "TextModel", "batches", "loss_of", "make_model", "make_optimizer", "need", "train"]
