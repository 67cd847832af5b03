from datetime import UTC, datetime
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from farm.progress import LiveView, Progress, open_view
from farm.types import (
    Device,
    DeviceFacts,
    Event,
    Job,
    JobOutcome,
    JobState,
    ParityLimits,
    Recipe,
    Run,
    RunSpec,
    RunState,
    Scenario,
)
from tests.values import artifact

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RECIPES = tuple(
    Recipe(name=name, runtime=name, parity=ParityLimits(min_cosine=0.9)) for name in ("pytorch", "onnxruntime")
)
FACTS = DeviceFacts(
    platform="linux", device_model="pc", soc="x", abi="x86_64", os_version="6", memory_bytes=1, cpu_count=2
)
RUN = Run(
    id=7,
    spec=RunSpec(model="m", recipes=RECIPES, devices="platform=linux"),
    model_id="0" * 64,
    model_name="net",
    state=RunState.ACTIVE,
    created_by="me",
    created_at=NOW,
)


def outcomes(state: JobState = JobState.WAITING) -> list[JobOutcome]:
    return [
        JobOutcome(
            job=Job(
                id=number,
                run_id=7,
                recipe=recipe,
                build_key="0" * 64,
                device_id="local",
                scenario=Scenario(threads=2),
                state=state,
            ),
            device=Device(id="local", agent="local", host="pc", facts=FACTS),
        )
        for number, recipe in enumerate(RECIPES, start=1)
    ]


def event(seq: int, kind: str, subject: str, state: str, text: str = "") -> Event:
    return Event(seq=seq, run_id=7, at=NOW, kind=kind, subject=subject, state=state, text=text)


HISTORY = [
    event(1, "run", "7", "active", "2 jobs"),
    event(2, "build", "pytorch", "building"),
    event(3, "build", "pytorch", "built", "3.1 s"),
    event(4, "job", "1", "running"),
    event(5, "build", "onnxruntime", "failed", "The exporter refused [aten::x]."),
    event(6, "job", "2", "failed", "Its build failed."),
    event(7, "job", "1", "finished", "29 ms"),
    event(8, "run", "7", "finished"),
]


@given(st.lists(st.sampled_from(HISTORY)), st.sampled_from([JobState.WAITING, JobState.FINISHED]))
def test_seeing_events_again_changes_nothing(again, snapshot):
    once, twice = Progress(RUN, outcomes(snapshot)), Progress(RUN, outcomes(snapshot))
    for one in HISTORY:
        once.apply(one)
        twice.apply(one)
    for one in again:
        twice.apply(one)
    assert (once.jobs, once.builds, once.failures) == (twice.jobs, twice.builds, twice.failures)


def test_what_was_finished_when_watching_began_never_looks_unfinished():
    progress = Progress(RUN, outcomes(JobState.FINISHED))
    for one in HISTORY[:4]:
        progress.apply(one)
        assert progress.done == 2


def test_the_plain_view_writes_a_line_per_event_and_a_summary():
    text = StringIO()
    with open_view(RUN, outcomes(), Console(file=text, width=40)) as view:
        for one in HISTORY:
            view.show(one)
        view.notify("http://farm answers again.")
        jobs = {JobState.FINISHED: 1, JobState.FAILED: 1}
        view.finish(RUN.model_copy(update={"state": RunState.FINISHED, "jobs": jobs}))
    lines = [line.partition("] ")[2] for line in text.getvalue().splitlines()]
    assert lines == [
        "build pytorch building",
        "build pytorch built: 3.1 s",
        "job pytorch on local, single-stream/2t running",
        "build onnxruntime failed: The exporter refused [aten::x].",
        "job onnxruntime on local, single-stream/2t failed: Its build failed.",
        "job pytorch on local, single-stream/2t finished: 29 ms",
        "http://farm answers again.",
        "run 7 finished: 1 of 2 jobs measured, 1 failed",
    ]


def drawn(view: LiveView) -> str:
    console = Console(file=StringIO(), width=120, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(view.render())
    return capture.get()


def test_the_live_view_shows_builds_the_current_job_and_the_last_failures():
    progress = Progress(RUN, outcomes())
    view = LiveView(progress)
    for one in HISTORY[:5]:
        view.show(one)
    view.notify("No farm answers.")
    screen = drawn(view)
    assert "now  pytorch on local, single-stream/2t" in screen
    assert "failed  onnxruntime: The exporter refused [aten::x]." in screen
    assert "0 of 2 jobs measured" in screen
    assert "No farm answers." in screen
    view.finish(RUN)
    assert "No farm answers." not in drawn(view)


def test_the_live_view_of_many_recipes_shows_only_what_moves():
    many = tuple(RECIPES[0].model_copy(update={"name": f"recipe-{number}"}) for number in range(50))
    run = RUN.model_copy(update={"spec": RUN.spec.model_copy(update={"recipes": many})})
    view = LiveView(Progress(run, []))
    view.show(event(1, "build", "recipe-3", "building"))
    screen = drawn(view)
    assert "recipe-3 " in screen
    assert "recipe-4" not in screen
    assert "49 more recipes" in screen


def test_a_terminal_gets_the_live_view():
    console = Console(file=StringIO(), width=120, force_terminal=True)
    with open_view(RUN, outcomes(), console) as view:
        assert isinstance(view, LiveView)


def test_an_artifact_that_is_there_already_is_shown_as_built():
    first, *rest = outcomes()
    built = first.model_copy(update={"artifact": artifact("a" * 64)})
    progress = Progress(RUN, [built, *rest])
    assert progress.builds[first.job.recipe.name] == ("built", "")
