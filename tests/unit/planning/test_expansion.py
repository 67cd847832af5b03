"""What a submission comes to, and what is refused before anything is queued."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import RecipeSpecError, SelectorError, TooLargeError, UserError
from farm.planning.expansion import MAX_JOBS, Expansion, expand, find_known
from farm.store.transaction import NewJob
from farm.types import (
    Batch,
    Device,
    DeviceHealth,
    DeviceState,
    DynamicBatch,
    Job,
    JobOutcome,
    JobState,
    Model,
    ModelFormat,
    ParityLimits,
    Quantize,
    Recipe,
    RecipeInfo,
    RunSpec,
    Scenario,
    ToolOffer,
)
from farm.types.runs import batch_of
from tests.values import device, model, recipe, recipe_info, run_spec, sha256

REFERENCE = recipe("reference")
PYTORCH, ONNX = recipe("pytorch"), recipe("onnxruntime")
ONNX_INT8 = recipe("onnxruntime-int8", "onnxruntime", transforms=(Quantize(),))
LITERT = recipe("litert")
INFOS = [
    recipe_info(PYTORCH, accepts=(ModelFormat.PT2,)),
    recipe_info(ONNX),
    recipe_info(ONNX_INT8),
    recipe_info(LITERT, usable=False, missing=("litert-torch",)),
]


def key_of(given: Recipe) -> str:
    return sha256(given.digest)


def expanded(
    spec: RunSpec,
    devices: Sequence[Device] = (device(),),
    of: Model | None = None,
    infos: Sequence[RecipeInfo] = INFOS,
) -> Expansion:
    rng = random.Random(1)  # noqa: S311
    return expand(spec, of or model(), devices, infos, reference=REFERENCE, key_of=key_of, rng=rng)


def test_every_combination_is_a_job_and_every_recipe_a_build() -> None:
    scenarios = (Scenario(threads=1), Scenario(threads=2))
    fleet = [device("host-b"), device("host-a")]
    made = expanded(run_spec(scenarios=scenarios), fleet)
    assert [(job.device_id, job.scenario.threads, job.recipe.name) for job in made.jobs] == [
        (id, threads, name) for id in ("host-a", "host-b") for threads in (1, 2) for name in ("pytorch", "onnxruntime")
    ]
    assert made.builds == {key_of(PYTORCH): PYTORCH, key_of(ONNX): ONNX}
    assert {(job.build_key, job.reference_key, job.reason) for job in made.jobs} == {
        (key_of(PYTORCH), None, ""),
        (key_of(ONNX), None, ""),
    }


def test_without_reference_outputs_the_reference_is_built_too() -> None:
    made = expanded(run_spec(), of=model(reference_outputs=None))
    assert made.builds[key_of(REFERENCE)] == REFERENCE
    assert {job.reference_key for job in made.jobs} == {key_of(REFERENCE)}


def test_recipes_that_differ_in_name_only_share_a_build() -> None:
    twin = recipe("fast", "onnxruntime")
    made = expanded(run_spec(recipes=(ONNX, twin)))
    assert len(made.jobs) == 2
    assert len(made.builds) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": DeviceState.OFFLINE}, "offline"),
        ({"maintenance": "new battery"}, "in maintenance (new battery)"),
        ({"health": DeviceHealth.BAD, "health_reason": "reboot: no answer"}, "bad (reboot: no answer)"),
    ],
)
def test_where_no_device_is_in_service_jobs_wait_and_say_so(changes: dict, says: str) -> None:
    away = device("away").model_copy(update=changes)
    some = expanded(run_spec(), [away, device("here")])
    assert {job.reason for job in some.jobs} == {""}
    for devices in ("each", "any(1)"):
        none = expanded(run_spec(devices=devices), [away])
        assert {job.reason for job in none.jobs} == {
            f"warning: every device that matches is out of service; waits for away, which is {says}"
        }


def test_where_there_is_a_choice_jobs_have_a_pool_and_a_slot_each_device() -> None:
    fleet = [device(f"d{n}", soc="A17" if n < 3 else "SM8650") for n in range(4)]
    made = expanded(run_spec(devices="any(2)"), fleet)
    assert made.pools == {1: ("d0", "d1", "d2", "d3")}
    assert {job.pool for job in made.jobs} == {1}
    slots = {job.device_id: {each.slot for each in made.jobs if each.device_id == job.device_id} for job in made.jobs}
    assert sorted(slots.values()) == [{0}, {1}]
    per = expanded(run_spec(devices="one per soc"), fleet)
    assert per.pools == {1: ("d0", "d1", "d2")}
    assert {(job.pool, job.slot) for job in per.jobs if job.device_id != "d3"} == {(1, 0)}
    assert {job.pool for job in per.jobs if job.device_id == "d3"} == {None}, "there is no other SM8650"
    assert expanded(run_spec(devices="each"), fleet).pools == {}


class TestAbility:
    FLEET = (device("bare", runtimes=("pytorch",), soc="A17"), device("small", cpu_count=2), device("good"))

    def spec(self, devices: str) -> RunSpec:
        return run_spec(devices=devices, scenarios=(Scenario(threads=4),))

    def test_a_choice_is_made_among_those_that_can_run_it(self) -> None:
        made = expanded(self.spec("any(1)"), self.FLEET)
        assert {job.device_id for job in made.jobs} == {"good"}
        assert made.pools == {}, "the others cannot take its place"

    def test_too_few_can(self) -> None:
        with pytest.raises(UserError, match=r"any\(2\) wants 2, and 1 of the 3 that match can run this") as caught:
            expanded(self.spec("any(2)"), self.FLEET)
        assert "bare cannot run onnxruntime: no runtime onnxruntime there" in caught.value.message
        assert "fewer devices" in caught.value.remedy

    def test_a_value_of_the_key_none_of_whose_devices_can(self) -> None:
        with pytest.raises(UserError, match=r"No device with soc=A17 can run this\. bare cannot run onnxruntime"):
            expanded(self.spec("one per soc"), self.FLEET)


def test_a_selector_that_matches_nothing_says_which_term_excluded_what() -> None:
    with pytest.raises(SelectorError, match=r"platform=ios excludes 1 of 1 \(host-a"):
        expanded(run_spec(devices="platform=ios, cpu_count>=2"))


def test_a_selector_with_a_typo() -> None:
    with pytest.raises(SelectorError, match="platform"):
        expanded(run_spec(devices="platfrom=linux"))


def test_an_unknown_runtime() -> None:
    with pytest.raises(RecipeSpecError, match="Did you mean onnxruntime"):
        expanded(run_spec(recipes=(recipe("mine", "onnx-runtime"),)))


def test_the_internal_reference_cannot_be_asked_for() -> None:
    with pytest.raises(RecipeSpecError):
        expanded(run_spec(recipes=(REFERENCE,)))


def test_a_recipe_that_cannot_be_built_here_says_what_is_missing() -> None:
    with pytest.raises(RecipeSpecError, match="missing litert-torch"):
        expanded(run_spec(recipes=(LITERT,)), [device(runtimes=("litert",))])


def test_a_custom_recipe_needs_what_the_preset_most_like_it_needs() -> None:
    infos = [recipe_info(ONNX), recipe_info(ONNX_INT8, usable=False, missing=("onnx",))]
    expanded(run_spec(recipes=(recipe("mine", "onnxruntime", options={"level": 1}),)), infos=infos)
    with pytest.raises(RecipeSpecError, match="missing onnx"):
        mine = recipe("mine", "onnxruntime", transforms=(Quantize(),), options={"level": 1})
        expanded(run_spec(recipes=(mine,)), infos=infos)


def test_a_recipe_that_does_not_take_the_format_names_those_that_do() -> None:
    with pytest.raises(RecipeSpecError) as caught:
        expanded(run_spec(), of=model(format=ModelFormat.ONNX))
    assert "'pytorch' takes pt2 models; this one is onnx" in caught.value.message
    assert "onnxruntime, onnxruntime-int8" in caught.value.remedy


def test_devices_that_lack_the_runtime_or_the_cpus_are_named() -> None:
    fleet = [device("small", cpu_count=2), device("bare", runtimes=("pytorch",)), device("good")]
    with pytest.raises(UserError) as caught:
        expanded(run_spec(scenarios=(Scenario(threads=4),)), fleet)
    assert caught.value.message == (
        "Not every device that matches can run this. "
        "bare cannot run onnxruntime: no runtime onnxruntime there. 4 threads are more than the CPUs of small (2)."
    )
    assert "Add runtime=onnxruntime, cpu_count>=4 to the selector" in caught.value.remedy
    mended = run_spec(scenarios=(Scenario(threads=4),), devices="runtime=onnxruntime, cpu_count>=4")
    assert {job.device_id for job in expanded(mended, fleet).jobs} == {"good"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"recipes": (PYTORCH, ONNX, PYTORCH)}, "recipe 'pytorch' is listed more than once"),
        ({"scenarios": (Scenario(), Scenario(threads=1))}, "scenario 'single-stream/1t' is listed more than once"),
    ],
)
def test_nothing_is_listed_twice(changes: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        expanded(run_spec(**changes))


def test_a_run_has_a_largest_size() -> None:
    fleet = [device(f"d{n}") for n in range(MAX_JOBS // 2 + 1)]
    with pytest.raises(TooLargeError, match=r"10,002 jobs: 5001 devices × 1 scenarios × 2 recipes"):
        expanded(run_spec(), fleet)


@given(
    st.integers(1, 6),
    st.sets(st.integers(1, 4), min_size=1),
    st.sets(st.sampled_from([PYTORCH.name, ONNX.name, ONNX_INT8.name]), min_size=1),
    st.sampled_from(["each", "any(1)", "one per id", "id=d0"]),
    st.booleans(),
)
def test_jobs_are_the_product_and_their_builds_are_there(
    count: int, threads: set[int], names: set[str], selector: str, has_reference: bool
) -> None:
    recipes = tuple(r for r in (PYTORCH, ONNX, ONNX_INT8) if r.name in names)
    spec = run_spec(recipes=recipes, scenarios=tuple(Scenario(threads=n) for n in threads), devices=selector)
    of = model() if has_reference else model(reference_outputs=None)
    made = expanded(spec, [device(f"d{n}") for n in range(count)], of)
    chosen = {job.device_id for job in made.jobs}
    assert len(chosen) == (count if selector in ("each", "one per id") else 1)
    combinations = {(job.device_id, job.scenario, job.recipe.name) for job in made.jobs}
    assert len(combinations) == len(made.jobs) == len(chosen) * len(threads) * len(recipes)
    needed = {job.build_key for job in made.jobs} | {job.reference_key for job in made.jobs} - {None}
    assert needed == set(made.builds)


def measured(job: NewJob, id: int, **changes: object) -> JobOutcome:
    fields = {name: getattr(job, name) for name in ("recipe", "build_key", "device_id", "scenario")}
    done = Job(id=id, run_id=1, state=JobState.FINISHED, **(fields | changes))
    return JobOutcome(job=done, device=device(job.device_id))


def test_what_was_measured_answers_jobs_of_the_same_artifact_device_scenario_and_limits() -> None:
    jobs = expanded(run_spec()).jobs
    answers = [measured(job, number) for number, job in enumerate(jobs, start=1)]
    assert [one.job.id for one in find_known(jobs, answers)] == [1, 2]
    assert find_known(jobs, answers[:1]) == []
    assert find_known(jobs, [answers[0], measured(jobs[1], 3, scenario=Scenario(threads=2))]) == []
    loose = jobs[1].recipe.model_copy(update={"parity": ParityLimits(min_cosine=0.1)})
    assert find_known(jobs, [answers[0], measured(jobs[1], 4, recipe=loose)]) == []


def test_nothing_is_known_where_the_device_may_still_be_chosen() -> None:
    jobs = expanded(run_spec(devices="any(1)"), [device("host-a"), device("host-b")]).jobs
    assert find_known(jobs, [measured(job, number) for number, job in enumerate(jobs)]) == []


def test_recipes_that_a_device_cannot_run_are_kept_where_that_is_asked_for() -> None:
    bare = device("bare")
    bare = bare.model_copy(update={"facts": bare.facts.model_copy(update={"runtimes": ("pytorch",)})})
    with pytest.raises(UserError, match="no runtime onnxruntime"):
        expanded(run_spec(), [bare])
    assert len(expanded(run_spec(keep_unable=True), [bare]).jobs) == 2


def test_batches_need_a_model_and_recipes_that_take_them() -> None:
    eight = recipe("eight", "onnxruntime", transforms=(Batch(size=8),))
    any_of_four = recipe("any", "onnxruntime", transforms=(DynamicBatch(max_size=4),))
    able = model(dynamic_batch=True)
    with pytest.raises(RecipeSpecError, match="'net' takes one size only") as caught:
        expanded(run_spec(recipes=(eight,)))
    assert "dynamic_batch=True" in caught.value.remedy
    expanded(run_spec(recipes=(eight, any_of_four, ONNX)), of=able)
    expanded(run_spec(recipes=(any_of_four,), scenarios=(Scenario(), Scenario(batch=4))), of=able)
    expanded(run_spec(recipes=(eight,), scenarios=(Scenario(batch=8),)), of=able)
    for wanted, takes in ((ONNX, "takes 1"), (any_of_four, "takes 1 to 4"), (eight, "takes 8")):
        with pytest.raises(RecipeSpecError, match=takes):
            expanded(run_spec(recipes=(wanted,), scenarios=(Scenario(batch=6),)), of=able)


@given(batch=st.integers(1, 16), size=st.integers(2, 16), largest=st.integers(2, 16))
def test_a_job_takes_as_many_samples_as_it_was_asked_for_or_built_for(batch: int, size: int, largest: int) -> None:
    able = model(dynamic_batch=True)
    for step in (Batch(size=size), DynamicBatch(max_size=largest)):
        of = recipe("x", "onnxruntime", transforms=(step,))
        try:
            (made,) = expanded(run_spec(recipes=(of,), scenarios=(Scenario(batch=batch),)), of=able).jobs
        except RecipeSpecError:
            assert batch != 1
            continue
        assert batch_of(made.recipe, made.scenario) == (size if isinstance(step, Batch) else batch)


def _phone(id: str, *tools: ToolOffer) -> Device:
    plain = device(id)
    return plain.model_copy(update={"facts": plain.facts.model_copy(update={"tools": tools, "runtimes": ()})})


def test_a_native_tool_takes_the_place_of_the_runtime() -> None:
    phone = _phone("phone", ToolOffer(name="onnxruntime_perf_test", runtime="onnxruntime", accelerators=("cpu", "npu")))
    for scenario in (Scenario(accelerator="npu"), Scenario(tool="onnxruntime_perf_test")):
        (job,) = expanded(run_spec(recipes=(ONNX,), scenarios=(scenario,)), [phone]).jobs
        assert job.scenario == scenario


@pytest.mark.parametrize("scenario", [Scenario(accelerator="gpu"), Scenario(tool="other")])
def test_a_scenario_that_no_tool_of_the_device_can_measure_is_refused_with_what_to_do(scenario: Scenario) -> None:
    phone = _phone("phone", ToolOffer(name="onnxruntime_perf_test", runtime="onnxruntime", accelerators=("cpu", "npu")))
    with pytest.raises(UserError, match="phone has none") as caught:
        expanded(run_spec(recipes=(ONNX,), scenarios=(scenario,)), [phone])
    assert "farm tools add" in caught.value.remedy
    assert str(scenario) in caught.value.message
