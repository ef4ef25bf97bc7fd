"""Losses over pairs against plain loops in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.layers.pairs import image_video, margin_triplet, ntxent


def views(pairs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(pairs, 12, generator=generator)
    return F.normalize(a, dim=-1), F.normalize(a + 0.7 * torch.randn(pairs, 12, generator=generator), dim=-1)


def all_real(pairs: int) -> Tensor:
    return torch.ones(pairs, dtype=torch.bool)


def cosine(x: Tensor, y: Tensor) -> float:
    return float(np.dot(x.double().numpy(), y.double().numpy()))


def oracle_ntxent(a: Tensor, b: Tensor, temperature: float) -> float:
    rows, total = [*a, *b], 0.0
    for i in range(len(rows)):
        partner = (i + len(a)) % len(rows)
        below = sum(math.exp(cosine(rows[i], rows[k]) / temperature) for k in range(len(rows)) if k != i)
        total -= math.log(math.exp(cosine(rows[i], rows[partner]) / temperature) / below)
    return temperature / 0.07 * total / len(rows)


def oracle_paper(a: Tensor, b: Tensor, temperature: float) -> float:
    total = 0.0
    for own, other in ((a, b), (b, a)):
        for i in range(len(a)):
            below = sum(
                math.exp(cosine(own[i], own[k]) / temperature) + math.exp(cosine(own[i], other[k]) / temperature)
                for k in range(len(a))
                if k != i
            )
            total -= math.log(math.exp(cosine(own[i], other[i]) / temperature) / below)
    return total / (2 * len(a))


def oracle_triplet(a: Tensor, b: Tensor, margin: float) -> float:
    total = 0.0
    for own, other in ((a, b), (b, a)):
        for i in range(len(a)):
            to_own = math.dist(own[i].tolist(), other[i].tolist())
            hinges = [
                max(0.0, margin + to_own - math.dist(own[i].tolist(), other[k].tolist()))
                for k in range(len(a))
                if k != i
            ]
            total += sum(hinges) / len(hinges)
    return total / (2 * len(a))


CASES = [(ntxent, oracle_ntxent), (image_video, oracle_paper), (margin_triplet, oracle_triplet)]


@pytest.mark.parametrize(("loss", "oracle"), CASES)
@pytest.mark.parametrize("value", [0.07, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("pairs", [2, 7])
def test_losses_are_the_loops(loss, oracle, value: float, pairs: int) -> None:  # type: ignore[no-untyped-def]
    a, b = views(pairs)
    assert loss(a, b, all_real(pairs), value).item() == pytest.approx(oracle(a, b, value), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("loss", "oracle"), CASES)
def test_what_fills_up_a_batch_has_no_say(loss, oracle) -> None:  # type: ignore[no-untyped-def]
    a, b = views(6)
    real = torch.tensor([True, True, False, True, True, False])
    a.requires_grad_()
    found = loss(a, b, real, 1.2)
    assert found.item() == pytest.approx(oracle(a[real].detach(), b[real], 1.2), rel=1e-5)
    found.backward()
    assert a.grad is not None
    assert (a.grad[~real] == 0).all() and (a.grad[real].abs().sum(1) > 0).all() and a.grad.isfinite().all()


@pytest.mark.parametrize(("loss", "oracle"), CASES)
def test_a_pair_alone_is_nothing_to_learn_from(loss, oracle) -> None:  # type: ignore[no-untyped-def]
    a, b = views(1)
    a.requires_grad_()
    found = loss(a, b, all_real(1), 0.1)
    found.backward()
    assert found.item() == pytest.approx(0.0, abs=1e-6)
    assert a.grad is not None and a.grad.isfinite().all()
    assert loss(a, b, torch.zeros(1, dtype=torch.bool), 0.1).item() == 0


def test_the_temperature_is_fine_where_a_float_would_overflow() -> None:
    a, b = views(5)
    for loss in (ntxent, image_video):
        assert math.isfinite(loss(a, b, all_real(5), 1e-3).item())


def test_distances_of_what_agrees_have_gradients() -> None:
    a = F.normalize(torch.randn(4, 8), dim=-1).requires_grad_()
    margin_triplet(a, a.detach().clone(), all_real(4), 1.0).backward()
    assert a.grad is not None and a.grad.isfinite().all()
