"""Parameters and multiply-accumulates of modules, which may be on the meta device: shapes without numbers.

Counted are matrix products and convolutions, by torch's own counter; not biases, norms, activations or softmax, which
are under a thousandth of a transformer.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def macs_by_part(module: nn.Module, run: Callable[[], object]) -> Counter[str]:
    """Multiply-accumulates of `run`, by the part (direct child) of `module` that made them; "" for none of them.

    What runs outside the forward of a part, or of a module inside it, counts as "".
    """
    counted: Counter[str] = Counter()
    open_calls: list[int] = []  # one a call that is running; the outermost one is credited

    with FlopCounterMode(display=False) as counter, _unfused(), torch.no_grad():

        def enter(_module: nn.Module, _inputs: object) -> None:
            open_calls.append(counter.get_total_flops())

        def leave(part: str) -> Callable[..., None]:
            def credit(_module: nn.Module, _inputs: object, _output: object) -> None:
                before = open_calls.pop()
                if not open_calls:
                    counted[part] += counter.get_total_flops() - before

            return credit

        hooks = []
        for name, inner in module.named_modules():
            if name:
                hooks += [inner.register_forward_pre_hook(enter)]
                hooks += [inner.register_forward_hook(leave(name.partition(".")[0]))]
        try:
            run()
        finally:
            for hook in hooks:
                hook.remove()
        counted[""] = counter.get_total_flops() - counted.total()
    return Counter({part: flops // 2 for part, flops in counted.items() if flops})


@contextmanager
def _unfused() -> Iterator[None]:
    """Keep transformer layers and attention from running as fused operations, which the counter does not all know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def numbers(tensors: Iterable[Tensor]) -> int:
    """How many numbers tensors hold; a tensor that occurs twice counts once."""
    return sum(tensor.numel() for tensor in {id(tensor): tensor for tensor in tensors}.values())


def switches_on_cpu(module: nn.Module) -> None:
    """Give buffers of a single number, which are switches and counters, a value where there was a shape alone: zero."""
    for inner in module.modules():
        for name, buffer in inner.named_buffers(recurse=False):
            if buffer.ndim == 0:
                inner.register_buffer(name, torch.zeros((), dtype=buffer.dtype, device="cpu"))
