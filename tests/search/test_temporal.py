"""The cheapest path through candidates, against all paths there are."""

import itertools
import math

import numpy as np
import pytest

from vgeo.search.temporal import decode

HOME = np.array([40.7, -74.0])
NORTH = np.array([1.0, 0.0])


def km(a, b):
    lat1, lon1, lat2, lon2 = map(math.radians, (*a, *b))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(h))


def brute(places, log_p, times, speed, slack, move, jump):
    """Every path, one after the other: (cost, path) of the cheapest."""
    best = (math.inf, None)
    frames, k = log_p.shape
    for path in itertools.product(range(k), repeat=frames):
        cost = -sum(log_p[t, c] for t, c in enumerate(path))
        for t in range(1, frames):
            reach = speed / 3600 * (times[t] - times[t - 1]) + slack
            far = km(places[t - 1, path[t - 1]], places[t, path[t]])
            cost += (move * far / reach if reach else 0.0) if far <= reach else jump
        if cost < best[0]:
            best = (cost, path)
    return best


def made_up(seed, frames, k):
    rng = np.random.default_rng(seed)
    places = HOME + rng.choice([0.0002, 0.003, 1.0], (frames, k, 1)) * rng.normal(size=(frames, k, 2))
    times = np.cumsum(rng.choice([0.0, 0.5, 1.0, 30.0], frames))
    log_p = np.log(np.sort(rng.dirichlet(np.full(k, 0.3), frames), axis=1)[:, ::-1] + 1e-12)
    return places, log_p, times


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("frames, k", [(1, 4), (2, 3), (4, 3), (6, 3), (5, 4)])
def test_the_cheapest_of_all_paths(seed, frames, k):
    places, log_p, times = made_up(seed, frames, k)
    if seed % 3 == 0:
        log_p[:, -1] = -np.inf
    move, jump, slack = [(1, 20, 0.05), (0, 3, 0.0), (2, 5, 0.3)][seed % 3]
    cost, path = brute(places, log_p, times, 100, slack, move, jump)
    found = decode(places, log_p, times, max_speed_kmh=100, slack_km=slack, move_nats=move, break_nats=jump)
    assert found.cost == pytest.approx(cost, abs=1e-9)
    taken = found.chosen_T.tolist()
    if taken != list(path):  # another path of the same cost
        assert brute_cost(places, log_p, times, taken, slack, move, jump) == pytest.approx(cost, abs=1e-9)
    for t in range(1, frames):
        reach = 100 / 3600 * (times[t] - times[t - 1]) + slack
        assert found.break_T[t] == (km(places[t - 1, taken[t - 1]], places[t, taken[t]]) > reach)
    assert not found.break_T[0]


def brute_cost(places, log_p, times, path, slack, move, jump):
    only = np.arange(len(path)), np.array(path)
    return brute(places[only][:, None], log_p[only][:, None], times, 100, slack, move, jump)[0]


def straight(frames, step_km=0.01):
    """True places of a slow walk northwards."""
    return HOME + np.stack([np.arange(frames) * step_km / 111.2, np.zeros(frames)], 1)


def test_a_confident_outlier_is_repaired_and_a_cut_is_kept():
    true = straight(9)
    away = HOME + 2.0
    places = np.stack([true, np.broadcast_to(away, true.shape)], axis=1)
    log_p = np.log(np.broadcast_to([0.9, 0.1], (9, 2))).copy()
    log_p[4] = np.log([1e-6, 1 - 1e-6])
    assert decode(places, log_p, None, slack_km=0.05).chosen_T.tolist() == [0] * 9
    log_p[:4] = np.log([0.9999, 0.0001])  # four frames, 37 nats for here
    log_p[4:] = np.log([0.001, 0.999])  # five, 35 nats for elsewhere: both more than a break's 20
    found = decode(places, log_p, None, slack_km=0.05)
    assert found.chosen_T.tolist() == [0] * 4 + [1] * 5
    assert np.flatnonzero(found.break_T).tolist() == [4]


def test_a_gap_in_time_lets_the_camera_go_on():
    places = np.array([[HOME], [HOME + NORTH]])
    log_p = np.zeros((2, 1))
    assert decode(places, log_p, np.array([0.0, 3300.0])).break_T.tolist() == [False, True]  # 111.2 km in 55 minutes
    assert decode(places, log_p, np.array([0.0, 3400.0])).break_T.tolist() == [False, False]
    assert decode(places, log_p).break_T.tolist() == [False, True]  # without times: in a second


def test_of_reachable_places_the_nearer():
    places = np.array([[HOME, HOME], [HOME + 1e-4 * NORTH, HOME]])
    assert decode(places, np.zeros((2, 2)), slack_km=0.1).chosen_T.tolist() == [0, 1]
    assert decode(places, np.zeros((2, 2)), slack_km=0.1, move_nats=0).chosen_T.tolist() == [0, 0]


def test_over_the_antimeridian():
    places = np.array([[[10.0, 179.9999]], [[10.0, -179.9999]]])
    assert not decode(places, np.zeros((2, 1))).break_T.any()


def test_edges():
    assert decode(np.zeros((0, 3, 2)), np.zeros((0, 3))).chosen_T.tolist() == []
    with pytest.raises(ValueError, match="without candidates"):
        decode(np.zeros((2, 1, 2)), np.array([[0.0], [-np.inf]]))
