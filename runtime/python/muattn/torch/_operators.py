"""The operators muattn::... of PyTorch: what torch.compile, torch.export, torch.func and make_fx see."""

import torch

from ._tensors import autocast

library = torch.library.Library("muattn", "FRAGMENT")


def define(schema, kernel, fake):
    """Registers an operator of this schema: kernel computes it, fake allocates what it returns. Returns it."""
    name = schema.partition("(")[0]
    library.define(schema, tags=torch.Tag.pt2_compliant_tag)
    library.impl(name, kernel, "CPU")
    torch.library.register_fake(f"muattn::{name}", fake, lib=library)
    return getattr(torch.ops.muattn, name).default


def differentiate(operator, save, backward):
    """Gives the operator a backward pass, and returns it in a form that torch.func's transforms take too: they do not differentiate
    registered operators (PyTorch 2.15), but do an autograd.Function around one."""
    torch.library.register_autograd(operator.name(), backward, setup_context=save, lib=library)

    class OfOperator(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*inputs):
            found = operator(*inputs)
            return tuple(found) if isinstance(found, list) else found

        @staticmethod
        def setup_context(ctx, inputs, output):
            save(ctx, inputs, output)

    OfOperator.backward = staticmethod(backward)

    def call(*inputs):
        if torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling():
            return OfOperator.apply(*inputs)
        return operator(*inputs)

    return call


def never_differentiate(operator, why="muattn computes first derivatives alone"):
    """The same for one without a backward pass, as a backward pass is: in silence its results would count as constants."""

    def refuse(ctx, *gradients):
        raise RuntimeError(f"{operator.name()} has no derivative: {why}")

    return differentiate(operator, lambda ctx, inputs, output: None, refuse)


def in_places(found, wanted):
    """What a backward operator found, a list of what is wanted, with None for the rest."""
    entries = iter(found)
    return [next(entries) if wants else None for wants in wanted]


def map_over(operator, fold):
    """fold(info, in_dims, *arguments) -> (results, out_dims), as torch.library.register_vmap has it."""
    torch.library.register_vmap(operator.name(), fold, lib=library)


def autocast_by(operator, cast):
    """Under torch.autocast the operator is called with cast(*arguments), for graphs that were made outside of it."""
    only = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)

    def kernel(_, *arguments):
        arguments = cast(*arguments)
        with torch._C._ExcludeDispatchKeyGuard(only):
            return operator(*arguments)

    library.impl(operator.name().partition("::")[2], kernel, "AutocastCPU", with_keyset=True)


def autocast_tokens(operator):
    """The same of q, k and v, the first three."""
    autocast_by(operator, lambda *arguments: (*autocast(*arguments[:3]), *arguments[3:]))
