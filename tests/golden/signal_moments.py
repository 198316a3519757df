"""Moments of the signals from a long numpy run, written from the formulas of the sources:

    python tests/golden/signal_moments.py > tests/golden/signal_moments.json

For each signal, over a million series: the mean and the variance of all values, and the mean product
of a value and the one a step later.
"""

import json

import numpy as np

N = 1_000_000
rng = np.random.default_rng(0)


def uniform(low, high):
    return rng.uniform(low, high, (N, 1))


def two_sines(past, future):
    x = np.linspace(0, past / 15 * 3 * np.pi, past + future)
    frequency = [(rng.random((N, 1)) - 0.5) / 1.5 * 15 + 0.5 for _ in range(2)]
    first = uniform(0.1, 1.1) * np.sin(uniform(0, 2 * np.pi) + x * frequency[0])
    return first + uniform(0, 1.2) * np.cos(uniform(0, 2 * np.pi) + x * frequency[1])


def random_sines(count, offset):
    x = np.arange(30) * 2 * np.pi / 30
    sines = [
        uniform(0.1, 1) * np.sin(uniform(0.1, 10) * x + uniform(0, 2 * np.pi))
        + (uniform(-0.5, 0.5) if offset else 0)
        for _ in range(count)
    ]
    return sum(sines)


def noisy_waves(steps):
    t = np.linspace(0, 1, steps)
    f1, f2, o1, o2 = (rng.random((N, 1)) for _ in range(4))
    waves = 0.5 * np.sin((t - o1) * (f1 * 10 + 10)) + 0.2 * np.sin((t - o2) * (f2 * 20 + 20))
    return waves + 0.1 * (rng.random((N, steps)) - 0.5)


def moments(values):
    return {
        "mean": round(float(values.mean()), 5),
        "variance": round(float(values.var()), 5),
        "next": round(float((values[:, 1:] * values[:, :-1]).mean()), 5),
    }


print(
    json.dumps(
        {
            "two_sines": moments(two_sines(15, 15)),
            "two_sines_unequal": moments(two_sines(10, 25)),
            "random_sines": moments(random_sines(2, False)),
            "random_sines_offset": moments(random_sines(3, True)),
            "noisy_waves": moments(noisy_waves(51)),
        },
        indent=1,
    )
)
