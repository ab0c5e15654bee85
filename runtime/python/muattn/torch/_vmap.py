"""torch.func.vmap over the operators."""

import torch


def fold_heads(size, in_dims, tensors, of_heads):
    """The mapped dimension becomes the slower part of the heads, which are dimension 1, but 0 in the places of_heads, whose tensors are numbers
    for heads. So nothing is summed over it that would be summed over the batch: gradients of scale, mask and sink."""

    def apart(place):
        tensor, dim, at = tensors[place], in_dims[place], 0 if place in of_heads else 1
        if dim is not None:
            return tensor.movedim(dim, at)
        return tensor.unsqueeze(at).expand(*tensor.shape[:at], size, *tensor.shape[at:])

    def folded(place):
        at = 0 if place in of_heads else 1
        tensor = apart(place)
        if place > 2 and tensor.shape[at + 1] == 1:  # a mask, or number, for all heads
            tensor = tensor.expand(*tensor.shape[: at + 1], heads, *tensor.shape[at + 2 :])
        return tensor.flatten(at, at + 1)

    heads = apart(0).shape[2]
    return [None if tensor is None else folded(place) for place, tensor in enumerate(tensors)]


def unfold_heads(size, tensor):
    """The mapped dimension first."""
    return tensor.unflatten(1, (size, -1)).movedim(1, 0)


def one_by_one(operator, info, in_dims, arguments):
    """A call for each entry of the mapped dimension."""
    results = []
    for i in range(info.batch_size):
        results.append(operator(*(x.select(dim, i) if isinstance(dim, int) else x for dim, x in zip(in_dims, arguments))))
    if isinstance(results[0], torch.Tensor):
        return torch.stack(results), 0
    stacked = type(results[0])(torch.stack(entries) for entries in zip(*results))
    return stacked, type(stacked)([0] * len(stacked))
