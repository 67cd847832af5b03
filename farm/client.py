"""``AsyncClient`` speaks to a farm; ``Client`` is the same for ordinary code. Neither imports ray or torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import quote

import httpx

from farm import selectors
from farm.blocking import LoopThread
from farm.chronicle import Chronicle
from farm.config import load
from farm.connection import Connection
from farm.fleet import Fleet
from farm.regressions import Regressions
from farm.runs import AsyncRunHandle, RunHandle, compare, compare_blocking, diff
from farm.submission import Recipes, parse_recipes, recipes_for, run_spec
from farm.sweeping import Sweeping
from farm.types import (
    Attempt,
    Build,
    BuildLogPart,
    ClusterJoin,
    JobOutcome,
    JobWait,
    Priority,
    Protocol,
    Prune,
    RecipeInfo,
    Run,
    RunSpec,
    RunState,
    Scenario,
    Transform,
)
from farm.uploads import Uploads

if TYPE_CHECKING:
    from farm.analysis.comparison import Comparison
    from farm.analysis.difference import Difference
    from farm.evaluation import EvaluationSet
    from farm.gate.decision import Allowances, Gate
    from farm.gate.limit import Limit
    from farm.inputs import Input
    from farm.tuning.outcome import Tuning

# What a search tries in front of a runtime unless told otherwise.
DEFAULT_BEFORE: tuple[tuple[Transform, ...], ...] = (
    (Prune(amount=0.25, structured=True),),
    (Prune(amount=0.5, structured=True),),
)

P = ParamSpec("P")
T = TypeVar("T")


class AsyncClient(Uploads, Fleet, Sweeping, Regressions, Chronicle):
    """A farm at ``url``, with ``token``; what is left out comes from ``FARM_*`` or ``farm.toml``.

    Every method raises the error that the farm answers (``farm.errors``), AuthError without a token, and
    InfrastructureError where no farm answers. ``transport`` is the seam for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout_seconds: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        settings = load(url=url, token=token, timeout_seconds=timeout_seconds)
        secret = settings.token.get_secret_value() if settings.token else None
        self.connection = Connection(settings.url, secret or None, settings.timeout_seconds, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self.connection.aclose()

    # --- what there is -------------------------------------------------------------------------------

    async def health(self) -> dict[str, Any]:
        """Version and state of the head; the one call that needs no token."""
        return await self.connection.get("/health", dict[str, Any], needs_token=False)

    async def whoami(self) -> dict[str, str]:
        """``name`` and ``role`` of the token."""
        return await self.connection.get("/whoami", dict[str, str])

    async def recipes(self) -> list[RecipeInfo]:
        return await self.connection.get("/recipes", list[RecipeInfo])

    async def runs(
        self,
        limit: int | None = None,
        before: int | None = None,
        *,
        model: str | None = None,
        name: str | None = None,
        state: RunState | None = None,
    ) -> list[Run]:
        """The newest runs first; ``before`` is the id to go on from. ``model`` and ``name``: only those of models and
        runs of that name."""
        return await self.connection.get(
            "/runs", list[Run], limit=limit, before=before, model=model, name=name, state=state
        )

    async def run(self, id: int) -> AsyncRunHandle:
        return AsyncRunHandle(self.connection, await self.connection.get(f"/runs/{id}", Run))

    async def attempts(self, job_id: int) -> list[Attempt]:
        return await self.connection.get(f"/jobs/{job_id}/attempts", list[Attempt])

    async def job_wait(self, job_id: int) -> JobWait:
        """Why the job has not started. Raises ConflictError once it has."""
        return await self.connection.get(f"/jobs/{job_id}/wait", JobWait)

    async def build(self, key: str) -> Build:
        """By key, or the unique beginning of one."""
        return await self.connection.get(f"/builds/{quote(key, safe='')}", Build)

    async def builds(self, run: int | None = None, limit: int | None = None) -> list[Build]:
        """Those that the newest jobs need first, or all that the jobs of one run need."""
        return await self.connection.get("/builds", list[Build], run=run, limit=limit)

    async def build_log(self, key: str, offset: int = 0) -> BuildLogPart:
        """What the build says from byte ``offset`` on, also while it runs; see ``BuildLogPart`` for how to go on."""
        return await self.connection.get(f"/builds/{quote(key, safe='')}/log", BuildLogPart, offset=offset)

    async def compare(self, *run_ids: int, include_virtual: bool = False) -> Comparison:
        """The jobs of one or more runs, side by side.

        Virtual devices are left out where there are real ones, unless ``include_virtual``; they are always marked.
        """
        return await compare(self.connection, run_ids, include_virtual=include_virtual)

    async def diff(
        self, before: int, now: int, *, include_virtual: bool = False, metrics: Sequence[str] = ()
    ) -> Difference:
        """What changed from run ``before`` to run ``now``: each variant, device and scenario with itself.

        ``metrics``: names of ``farm.analysis.quantities``; without them, all that there are figures of. Virtual devices
        are left out where there are real ones, unless ``include_virtual``; they are always marked.
        """
        old, new = [await self.connection.get(f"/runs/{id}", Run) for id in (before, now)]
        return await diff(self.connection, old, new, include_virtual=include_virtual, metrics=metrics)

    async def gate(
        self,
        run: int,
        *,
        baseline: int | str,
        limits: Sequence[Limit | str],
        allowances: Allowances | None = None,
        include_virtual: bool = False,
    ) -> Gate:
        """Whether run ``run`` may pass (docs/ci.md): ``.exit``, ``.judgements``, ``.to_markdown()``.

        ``baseline``: a run's number, ``sweep:NAME``, or the name that runs of the same model have. ``limits``: such as
        ``"max-regression latency_p50=3%"``, ``"max-drop accuracy=0.01"``, ``"max latency_p95=20ms"``. Raises
        NotFoundError without such a baseline, ConflictError while the run is not over.
        """
        from farm.gate.baseline import ensure_over, find
        from farm.gate.decision import check, judge
        from farm.gate.limit import parse

        wanted = [parse(each) if isinstance(each, str) else each for each in limits]
        check(wanted)
        now = await self.connection.get(f"/runs/{run}", Run)
        ensure_over(now)
        before = await find(self.connection, baseline, now)
        return judge(await diff(self.connection, before, now, include_virtual=include_virtual), wanted, allowances)

    async def cluster(self) -> ClusterJoin:
        """What ``farm agent`` needs to join; for tokens of role agent or admin."""
        return await self.connection.get("/cluster/join", ClusterJoin)

    # --- what to do ----------------------------------------------------------------------------------

    async def submit(
        self,
        model: Any,
        *,
        recipes: Recipes,
        devices: str,
        example_inputs: Any = None,
        scenarios: Sequence[Scenario] = (Scenario(),),
        protocol: Protocol | None = None,
        priority: Priority = "normal",
        parity_inputs: Any = None,
        calibration_inputs: Any = None,
        custom_operators: Mapping[str, str | Path] | None = None,
        training_inputs: Any = None,
        evaluation: EvaluationSet | None = None,
        inputs: Sequence[Input] | None = None,
        preprocessing: Sequence[Any] | None = None,
        postprocessing: Sequence[Any] | None = None,
        name: str | None = None,
        model_name: str | None = None,
        dynamic_batch: bool = False,
    ) -> AsyncRunHandle:
        """Build ``model`` by each recipe and measure each artifact on each device in each scenario.

        ``model``: an ``nn.Module``, a file (see ``add_model``), or the name or id of an uploaded model.
        ``recipes``: names of presets, recipes, the ``Path`` of a YAML file with them, or ``"all"`` that are usable at
        the farm and take this model; then a device that lacks a runtime has that as the reason in the comparison.
        ``devices``: a selector. ``name`` names the run, ``model_name`` a model that is uploaded with it.
        ``priority``: at each device, jobs of a higher one go first: interactive, normal, nightly.
        """
        self.connection.check_token()
        given = {
            "example_inputs": example_inputs,
            "parity_inputs": parity_inputs,
            "calibration_inputs": calibration_inputs,
            "custom_operators": custom_operators,
            "training_inputs": training_inputs,
            "evaluation": evaluation,
            "inputs": inputs,
            "preprocessing": preprocessing,
            "postprocessing": postprocessing,
            "name": model_name,
            "dynamic_batch": dynamic_batch or None,
        }
        selectors.parse(devices)  # what is wrong here need not wait for an export and an upload
        named = () if recipes == "all" else parse_recipes(recipes)
        target = await self._target(model, given)
        spec = run_spec(
            model=target.id,
            recipes=named or recipes_for(target, await self.recipes(), self.url),
            devices=devices,
            scenarios=tuple(scenarios),
            protocol=protocol or Protocol(),
            name=name or "",
            priority=priority,
            keep_unable=recipes == "all",
        )
        return await self.submit_spec(spec)

    async def submit_spec(self, spec: RunSpec) -> AsyncRunHandle:
        """Submit what is spelled out already; ``spec.model`` must be uploaded."""
        return AsyncRunHandle(self.connection, await self.connection.post("/runs", Run, spec))

    async def known_outcomes(self, spec: RunSpec) -> list[JobOutcome]:
        """What the submission would measure, where all of it was measured already with the same artifact, device,
        scenario and protocol; empty where something is missing. Where it was measured more than once, the newest."""
        return await self.connection.post("/runs/known", list[JobOutcome], spec)


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    @functools.wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.call(method(self._client, *args, **kwargs))

    return call


def _blocking_handle(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, AsyncRunHandle]],
) -> Callable[Concatenate[Client, P], RunHandle]:
    @functools.wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> RunHandle:
        return RunHandle(self._loop.call(method(self._client, *args, **kwargs)), self._loop)

    return call


class Client:
    """``AsyncClient`` for ordinary code and notebooks; see there. ``with`` or ``close()`` gives its thread back."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout_seconds: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = AsyncClient(url, token=token, timeout_seconds=timeout_seconds, transport=transport)
        self._loop = LoopThread(self._client.aclose)

    @property
    def url(self) -> str:
        return self._client.url

    @property
    def connection(self) -> Connection:
        return self._client.connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._loop.close()

    def compare(self, *run_ids: int, include_virtual: bool = False) -> Comparison:
        """See ``AsyncClient.compare``."""
        return compare_blocking(self._client.connection, run_ids, self._loop, include_virtual=include_virtual)

    diff = _blocking(AsyncClient.diff)
    gate = _blocking(AsyncClient.gate)
    health = _blocking(AsyncClient.health)
    whoami = _blocking(AsyncClient.whoami)
    recipes = _blocking(AsyncClient.recipes)
    devices = _blocking(AsyncClient.devices)
    device = _blocking(AsyncClient.device)
    device_details = _blocking(AsyncClient.device_details)
    order_device = _blocking(AsyncClient.order_device)
    reservations = _blocking(AsyncClient.reservations)
    reserve = _blocking(AsyncClient.reserve)
    release = _blocking(AsyncClient.release)
    models = _blocking(AsyncClient.models)
    model = _blocking(AsyncClient.model)
    runs = _blocking(AsyncClient.runs)
    run = _blocking_handle(AsyncClient.run)
    attempts = _blocking(AsyncClient.attempts)
    job_wait = _blocking(AsyncClient.job_wait)
    build = _blocking(AsyncClient.build)
    builds = _blocking(AsyncClient.builds)
    build_log = _blocking(AsyncClient.build_log)
    history = _blocking(AsyncClient.history)
    cluster = _blocking(AsyncClient.cluster)
    add_model = _blocking(AsyncClient.add_model)
    fuse_models = _blocking(AsyncClient.fuse_models)
    submit = _blocking_handle(AsyncClient.submit)
    submit_spec = _blocking_handle(AsyncClient.submit_spec)
    known_outcomes = _blocking(AsyncClient.known_outcomes)
    plan_sweep = _blocking(AsyncClient.plan_sweep)
    apply_sweep = _blocking(AsyncClient.apply_sweep)
    sweeps = _blocking(AsyncClient.sweeps)
    sweep = _blocking(AsyncClient.sweep)
    run_sweep = _blocking(AsyncClient.run_sweep)
    pause_sweep = _blocking(AsyncClient.pause_sweep)
    resume_sweep = _blocking(AsyncClient.resume_sweep)
    remove_sweep = _blocking(AsyncClient.remove_sweep)
    nights = _blocking(AsyncClient.nights)
    regressions = _blocking(AsyncClient.regressions)
    regression = _blocking(AsyncClient.regression)
    regression_page = _blocking(AsyncClient.regression_page)
    close_regression = _blocking(AsyncClient.close_regression)
    search_regression = _blocking(AsyncClient.search_regression)

    def tune(
        self,
        model: Any,
        *,
        devices: str,
        objective: str | Sequence[str] = "latency_p50",
        constraints: Mapping[str, str] | Sequence[str] = (),
        budget: int = 40,
        threads: Sequence[int] = (1,),
        before: Sequence[Sequence[Transform]] = DEFAULT_BEFORE,
        protocol: Protocol | None = None,
        parallel: int = 2,
        seed: int = 0,
        **inputs: Any,
    ) -> Tuning:
        """Search for the best recipe of ``model`` on real devices, by Optuna and Ray Tune (extra ``tune``).

        ``objective``: a metric as ``best()`` and ``to_pandas()`` name them, or several; ``constraints``: limits such as
        ``{"parity_cosine": ">=0.999", "artifact_bytes": "<=8e6"}``. ``before``: sequences of transforms of the program
        to try in front of every runtime. ``budget`` candidates are tried, ``parallel`` at a time. ``inputs``: those of
        ``add_model`` for a model that is not uploaded yet. What was built or measured before is not built or measured
        again. Raises UserError, RecipeSpecError, ConfigError where the extra is not installed.
        """
        from farm.tuning.search import tune

        return tune(
            self,
            model,
            devices=devices,
            objective=objective,
            constraints=constraints,
            budget=budget,
            threads=threads,
            before=before,
            protocol=protocol or Protocol(),
            parallel=parallel,
            seed=seed,
            inputs=inputs,
        )
