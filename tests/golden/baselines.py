"""Golden numbers of the baselines and of the Diebold-Mariano test:

    python tests/golden/baselines.py > tests/golden/baselines.json

Each by another way than the crate's: drift and the seasonal naive forecast as linear functions of
time, smoothing by statsmodels, ridge regression by least squares on rows that stand for the penalty,
and the test as an ordinary regression on a constant with HAC errors (statsmodels) and Student's t
distribution (scipy).
"""

import json
import warnings

import numpy as np
import scipy.stats
import statsmodels.api as sm
from statsmodels.tsa.holtwinters import SimpleExpSmoothing

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
N, P, F, D = 9, 7, 5, 2
SEASON, ALPHA, PENALTY = 3, [0.3, 0.8], 1.5

series = rng.normal(size=(N, P + F, D)).cumsum(axis=1).round(3)
past, future = series[:, :P], series[:, P:]


def numbers(values):
    return np.asarray(values).flatten().round(9).tolist()


def drift():
    t = np.arange(P, P + F)
    line = [[np.poly1d(np.polyfit([0, P - 1], x[[0, -1], d], 1))(t) for d in range(D)] for x in past]
    return np.swapaxes(line, 1, 2)


def seasonal():
    return np.concatenate([past[:, -SEASON:]] * 2, axis=1)[:, :F]


def smoothing():
    def one(x, alpha):
        model = SimpleExpSmoothing(x, initialization_method="known", initial_level=x[0])
        return model.fit(smoothing_level=alpha, optimized=False).forecast(F)

    return np.swapaxes([[one(x[:, d], ALPHA[d]) for d in range(D)] for x in past], 1, 2)


def chosen_alpha():
    """The best of 0.01 to 1.00, by the errors of the next step over all pasts."""

    def error(d, alpha):
        total = 0
        for x in past:
            model = SimpleExpSmoothing(x[:, d], initialization_method="known", initial_level=x[0, d])
            total += model.fit(smoothing_level=alpha, optimized=False).sse
        return total

    tried = np.arange(1, 101) / 100
    return [tried[np.argmin([error(d, alpha) for alpha in tried])] for d in range(D)]


def ridge():
    x, y = past.reshape(N, -1), future.reshape(N, -1)
    k = x.shape[1]
    # The penalty is on the weights of standardised inputs, which are the weights times the deviations.
    penalty = np.sqrt(PENALTY) * np.diag(x.std(axis=0))
    rows = np.block([[x, np.ones((N, 1))], [penalty, np.zeros((k, 1))]])
    weights = np.linalg.lstsq(rows, np.vstack([y, np.zeros((k, y.shape[1]))]), rcond=None)[0]
    return np.hstack([x, np.ones((N, 1))]) @ weights


def diebold_mariano(n, h):
    noise = rng.normal(size=n + h)
    first = np.abs(np.convolve(noise, np.ones(h), "valid")[:n]).round(6)
    second = (first + 0.1 + 0.5 * np.abs(rng.normal(size=n)) - 0.3).round(6)
    fitted = sm.OLS(first - second, np.ones(n)).fit(
        cov_type="HAC", cov_kwds={"maxlags": h - 1, "use_correction": False}
    )
    statistic = fitted.tvalues[0] * np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    return {
        "horizon": h,
        "first": first.tolist(),
        "second": second.tolist(),
        "mean_difference": float((first - second).mean()),
        "statistic": float(statistic),
        "p_value": float(2 * scipy.stats.t.sf(abs(statistic), n - 1)),
    }


print(
    json.dumps(
        {
            "past": numbers(past),
            "future": numbers(future),
            "sizes": [P, F, D],
            "season": SEASON,
            "alpha": ALPHA,
            "penalty": PENALTY,
            "drift": numbers(drift()),
            "seasonal_naive": numbers(seasonal()),
            "smoothing": numbers(smoothing()),
            "chosen_alpha": numbers(chosen_alpha()),
            "ridge": numbers(ridge()),
            "diebold_mariano": [diebold_mariano(n, h) for n, h in [(2, 1), (3, 1), (30, 1), (41, 5)]],
        }
    )
)
