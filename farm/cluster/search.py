"""The engines of a search: Optuna proposes (TPE), Ray Tune runs the candidates and stops early what cannot win (ASHA).

They run in a small Ray cluster of their own in the searcher's process, not in the farm's: a candidate does nothing but
submit to the farm and wait.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from farm.errors import ConfigError, InternalError
from farm.tuning.outcome import Candidate, Tuning
from farm.tuning.space import Space
from farm.tuning.trial import Task, stand

_OBJECT_STORE_BYTES = 80_000_000


def search(task: Task, space: Space, *, budget: int, parallel: int, seed: int) -> Tuning:
    """Try ``budget`` candidates, ``parallel`` at a time. Raises ConfigError where the engines are not installed."""
    # Its tables and TensorBoard files are for people who watch Ray Tune itself. Its candidates only submit and wait: at
    # Ray's low priority, they hardly get to that on a busy machine.
    os.environ |= {
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_worker_niceness": "0",
    }
    try:
        import optuna
        import ray
        from ray import tune
        from ray.tune.schedulers import AsyncHyperBandScheduler
        from ray.tune.search.optuna import OptunaSearch
    except ImportError as error:
        raise ConfigError(
            f"The search engines are not installed: {error}.", remedy="pip install 'torchfarm[tune]'."
        ) from error

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    started = time.monotonic()
    ours = not ray.is_initialized()
    if ours:
        ray.init(
            address="local",
            num_cpus=parallel,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        with tempfile.TemporaryDirectory(prefix="farm-tune-") as folder:
            tuner = tune.Tuner(
                tune.with_resources(tune.with_parameters(_run, task=task, space=space), {"cpu": 1}),
                tune_config=tune.TuneConfig(
                    num_samples=budget,
                    max_concurrent_trials=parallel,
                    search_alg=OptunaSearch(space=space.choose, metric="score", mode="min", seed=seed),
                    scheduler=AsyncHyperBandScheduler(
                        metric="score", mode="min", max_t=2, grace_period=1, reduction_factor=2
                    ),
                ),
                run_config=tune.RunConfig(name="search", storage_path=str(Path(folder)), verbose=0),
            )
            results = tuner.fit()
            candidates = [_candidate(space, result) for result in results]
    finally:
        if ours:
            ray.shutdown()
    return Tuning(task.goal, candidates, time.monotonic() - started)


def _run(config: dict[str, Any], *, task: Task, space: Space) -> None:
    """In a worker of Ray Tune. A report more than the scheduler allows does not come back."""
    from ray import tune

    for standing in stand(task, space.recipe(config), int(config["threads"])):
        tune.report(
            {
                "score": task.goal.score(standing.figures),
                "figures": standing.figures,
                "jobs": list(standing.jobs),
                "reused": standing.reused,
                "full": standing.full,
                "why": standing.why,
            }
        )


def _candidate(space: Space, result: Any) -> Candidate:
    """Raises InternalError where the worker itself failed."""
    config, metrics = result.config, result.metrics or {}
    if "why" not in metrics:
        raise InternalError(f"A candidate of the search was lost: {result.error}.", remedy="Report this bug.")
    why = metrics["why"] or ("" if metrics["full"] else "others looked better after the first look")
    return Candidate(
        recipe=space.recipe(config),
        threads=int(config["threads"]),
        figures=metrics["figures"],
        jobs=tuple(metrics["jobs"]),
        reused=metrics["reused"],
        full=metrics["full"],
        why=why,
    )
