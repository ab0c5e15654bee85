"""How far results may be from those in double precision: as FlashAttention's tests have it, a few times what PyTorch's own arithmetic in float32
is off, and a little."""

import torch

TIMES, LITTLE = 3, 1e-5


def double(x):
    """A leaf in double precision, of a tensor of floats."""
    if isinstance(x, torch.Tensor) and x.is_floating_point():
        return x.detach().double().requires_grad_(x.requires_grad)
    return x


def leaf(x):
    return x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x


def results(function, tensors, options, d_results):
    """What function returns, and the gradients by tensors, a dict, of its results times d_results."""
    found = function(**tensors, **options)
    found = found if isinstance(found, tuple) else (found,)
    wanted = {name: x for name, x in tensors.items() if isinstance(x, torch.Tensor) and x.requires_grad}
    loss = sum((x * d.to(x.dtype)).sum() for x, d in zip(found, d_results) if d is not None)
    gradients = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True) if wanted else ()
    return list(found), dict(zip(wanted, gradients))


def check_like(function, reference, tensors, options, d_results):
    """function's results and gradients against reference's in double precision."""
    exact, exact_gradients = results(reference, {name: double(x) for name, x in tensors.items()}, options, d_results)
    theirs, their_gradients = results(reference, {name: leaf(x) for name, x in tensors.items()}, options, d_results)
    ours, our_gradients = results(function, {name: leaf(x) for name, x in tensors.items()}, options, d_results)
    for i, (a, b, c) in enumerate(zip(ours, theirs, exact)):
        if d_results[i] is not None:
            assert_close(f"result {i}", a, b, c)
    for name, gradient in our_gradients.items():
        assert gradient.shape == tensors[name].shape
        assert_close(f"gradient by {name}", gradient, their_gradients[name], exact_gradients[name])


def assert_close(what, ours, theirs, exact):
    finite = exact.isfinite()
    assert torch.equal(finite, ours.isfinite()), f"{what}: not finite elsewhere"
    error = (ours.double() - exact)[finite].abs().max().item() if finite.any() else 0
    allowed = TIMES * ((theirs.double() - exact)[finite].abs().max().item() if finite.any() else 0) + LITTLE * max(1.0, exact[finite].abs().max().item() if finite.any() else 0)
    assert error <= allowed, f"{what}: off by {error:.3g}, allowed {allowed:.3g}"
