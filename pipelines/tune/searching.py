"""Which point is tried next, and on which bundle: Ray Tune asks, and gets one where a bundle of the gang is free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ray.tune.search import Searcher

from aios.engines import WorkloadFailed
from pipelines.tune.spec import RangeSpec, TuneSpec
from pipelines.tune.trials import Trial, Trials


class Points(Protocol):
    """Where points come from. ``nth`` counts from 0 over all attempts."""

    n: int

    def point(self, nth: int, name: str) -> dict[str, Any]: ...

    def tell(self, name: str, config: Mapping[str, Any], score: float | None) -> None:
        """Say how a point did; one from an earlier attempt was not asked for in this one."""


class Random:
    """Points by chance, from the seed and their number alone; a grid is gone through in order."""

    def __init__(self, spec: TuneSpec) -> None:
        self.space, self.seed = spec.space, spec.seed
        axes = [(name, one.grid) for name, one in spec.space.items() if one.grid is not None]
        self.grid = [
            dict(zip([name for name, _ in axes], values, strict=True)) for values in product(*(v for _, v in axes))
        ]
        self.n = spec.num_samples * len(self.grid)

    def point(self, nth: int, name: str) -> dict[str, Any]:
        random = np.random.default_rng((self.seed, nth))
        drawn = {key: _drawn(one, random) for key, one in self.space.items() if one.grid is None}
        return {**self.grid[nth % len(self.grid)], **drawn}

    def tell(self, name: str, config: Mapping[str, Any], score: float | None) -> None:
        pass


class Optuna:
    """Points that Optuna's sampler (TPE) proposes after what it has heard of earlier ones."""

    def __init__(self, spec: TuneSpec) -> None:
        if find_spec("optuna") is None:
            raise WorkloadFailed("search: optuna needs Optuna, which is not installed here: pip install 'aios[tune]'")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.n, self.space = spec.num_samples, spec.space
        sampler = optuna.samplers.TPESampler(seed=spec.seed, n_startup_trials=min(5, spec.num_samples))
        self.study = optuna.create_study(direction=f"{spec.mode}imize", sampler=sampler)
        self.asked: dict[str, Any] = {}

    def point(self, nth: int, name: str) -> dict[str, Any]:
        self.asked[name] = self.study.ask(self._distributions())
        return self._values(self.asked[name].params)

    def tell(self, name: str, config: Mapping[str, Any], score: float | None) -> None:
        import optuna

        state = optuna.trial.TrialState.COMPLETE if score is not None else optuna.trial.TrialState.FAIL
        if name in self.asked:
            self.study.tell(self.asked.pop(name), score, state=state)
        elif score is not None:
            params = {key: self._index(key, value) for key, value in config.items()}
            made = optuna.trial.create_trial(params=params, distributions=self._distributions(), value=score)
            self.study.add_trial(made)

    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, Any] = {}
        for name, one in self.space.items():
            if one.choice is not None:  # by its number: values may be lists
                found[name] = CategoricalDistribution(tuple(range(len(one.choice))))
            elif one.randint is not None:
                found[name] = IntDistribution(one.randint[0], one.randint[1] - 1)
            else:
                low, high = one.uniform or one.loguniform or (0.0, 1.0)
                found[name] = FloatDistribution(low, high, log=one.loguniform is not None)
        return found

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        choices = {name: one.choice for name, one in self.space.items()}
        return {name: value if (of := choices[name]) is None else of[value] for name, value in params.items()}

    def _index(self, name: str, value: Any) -> Any:
        choice = self.space[name].choice
        return value if choice is None else [_plain(one) for one in choice].index(_plain(value))


class OnBundles(Searcher):  # type: ignore[misc]  # Ray ships no types for it
    """Gives Ray Tune a trial for each free bundle: first those that an earlier attempt left, then new points."""

    def __init__(self, spec: TuneSpec, points: Points, trials: Trials, n_bundles: int) -> None:
        super().__init__(metric=spec.metric, mode=spec.mode)
        self.points, self.trials = points, trials
        self.free, self.held = list(range(n_bundles)), dict[str, tuple[int, Trial]]()
        self.left = trials.unfinished()
        for one in trials.found.values():
            if one.status != "running":
                points.tell(one.name, one.config, one.score)

    def suggest(self, trial_id: str) -> Any:
        if not self.free:
            return None
        if self.left:
            trial = self.left.pop(0)
        elif len(self.trials.found) >= self.points.n:
            return Searcher.FINISHED
        else:
            name = f"t{len(self.trials.found) + 1:04d}"
            trial = Trial(name, self.points.point(len(self.trials.found), name))
            self.trials.found[name] = trial
            self.trials.write()
        self.held[trial_id] = self.free.pop(0), trial
        return {"name": trial.name, "bundle": self.held[trial_id][0], "point": dict(trial.config)}

    def trial(self, trial_id: str) -> Trial:
        return self.held[trial_id][1]

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        bundle, trial = self.held[trial_id]
        self.free.append(bundle)
        self.points.tell(trial.name, trial.config, trial.score)

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()  # what matters is in the trials' own file

    def restore(self, checkpoint_path: str) -> None:
        pass


def points_of(spec: TuneSpec) -> Points:
    return Optuna(spec) if spec.search == "optuna" else Random(spec)


def _drawn(one: RangeSpec, random: np.random.Generator) -> Any:
    if one.uniform is not None:
        return float(random.uniform(*one.uniform))
    if one.loguniform is not None:
        low, high = np.log(one.loguniform)
        return float(np.exp(random.uniform(low, high)))
    if one.randint is not None:
        return int(random.integers(*one.randint))
    assert one.choice is not None
    return one.choice[int(random.integers(len(one.choice)))]


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def columns_of(points: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    return list(dict.fromkeys(name for point in points for name in point))
