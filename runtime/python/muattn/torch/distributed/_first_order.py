"""Gradients that have none themselves."""

import torch


class _Refusing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, what, count, *tensors):
        ctx.what = what
        return tuple(x.view_as(x) for x in tensors[:count])

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError(f"{ctx.what} has no second derivative: muattn computes first derivatives alone")


def first_order(what, gradients, *made_of):
    """The gradients, by None or a tensor each, of a backward pass. With create_graph=True they refuse to be differentiated by made_of: as
    constants their own gradients would be 0 in silence."""
    if not torch.is_grad_enabled():
        return gradients
    found = [x for x in gradients if x is not None]
    refusing = iter(_Refusing.apply(what, len(found), *found, *(x for x in made_of if x is not None)))
    return tuple(None if x is None else next(refusing) for x in gradients)
