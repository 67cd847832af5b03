"""The main job, through every door a user has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import farm
from farm.errors import ModelError, RecipeSpecError, SelectorError, UserError
from farm.types import JobState, RunState
from tests.e2e.conftest import SmallNet, torch

pytestmark = [pytest.mark.real_models, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def test_the_snippet_of_the_readme_works_verbatim(
    client: farm.Client,
    model: SmallNet,
    image: torch.Tensor,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    readme = (ROOT / "README.md").read_text()
    snippet = next(block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "client.submit" in block)
    monkeypatch.setenv("FARM_URL", client.url)
    monkeypatch.setenv("FARM_TOKEN", token)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"model": model, "x": image}
    exec(compile(snippet, "README.md", "exec"), scope)  # noqa: S102
    run = scope["run"]
    assert isinstance(run, farm.RunHandle)
    assert run.state is RunState.FINISHED
    results = {outcome.job.recipe.name: outcome.result for outcome in run.outcomes()}
    assert set(results) == {"executorch-xnnpack", "onnxruntime-int8"}
    for name, result in results.items():
        assert result is not None, name
        assert result.parity is not None
        assert result.parity.cosine > 0.98
        assert result.latency_seconds["p50"].low <= result.latency_seconds["p50"].value
        slowed = "low-priority" in {reason.code for reason in result.verdict.reasons}
        assert slowed == (os.getpriority(os.PRIO_PROCESS, 0) > 0), "measured as other programs run"


def test_the_second_submission_builds_nothing(
    client: farm.Client, model: SmallNet, image: torch.Tensor, quick: farm.Protocol
) -> None:
    def submit() -> farm.RunHandle:
        run = client.submit(
            model, example_inputs=(image,), recipes=["torchscript"], devices="platform=linux", protocol=quick
        )
        run.wait(timeout_seconds=120)
        return run

    first, second = submit(), submit()
    assert [event for event in first.events() if event.kind == "build"]
    assert not [event for event in second.events() if event.kind == "build"]
    assert [outcome.job.state for outcome in second.outcomes()] == [JobState.FINISHED]


def test_a_variant_that_fails_leaves_the_others_alone_and_says_why(
    client: farm.Client, image: torch.Tensor, quick: farm.Protocol, report_folder: Path
) -> None:
    class Unlucky(SmallNet):
        """Its output is not a number."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image) / 0.0 * 0.0

    run = client.submit(
        Unlucky().eval(),
        example_inputs=(image,),
        recipes=["pytorch", "onnxruntime"],
        devices="platform=linux",
        protocol=quick,
    )
    run.wait(timeout_seconds=120)
    assert run.state is RunState.FINISHED
    text = str(run.compare())
    assert "invalid" in text or "failed" in text
    assert "trusted" not in [str(o.result.verdict.level) for o in run.outcomes() if o.result]
    report = run.report(report_folder / "index.html")
    assert "<script src=" not in report.read_text(), "readable without a network"


def test_bad_submissions_are_refused_before_anything_is_done(
    client: farm.Client, model: SmallNet, image: torch.Tensor
) -> None:
    class Branching(SmallNet):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if image.sum() > 0:
                return super().forward(image)
            return super().forward(-image)

    runs_before = len(client.runs())
    with pytest.raises(RecipeSpecError, match="executorch-xnnpack"):
        client.submit(model, example_inputs=(image,), recipes=["executorch-xnpack"], devices="platform=linux")
    with pytest.raises(SelectorError, match=r"soc"):
        client.submit(model, example_inputs=(image,), recipes=["pytorch"], devices="platform=linux,soc=SM8650")
    with pytest.raises(SelectorError, match=r"\^"):
        client.submit(model, example_inputs=(image,), recipes=["pytorch"], devices="platform=!linux")
    with pytest.raises(ModelError, match=r"test_main_job\.py"):
        client.submit(Branching().eval(), example_inputs=(image,), recipes=["pytorch"], devices="platform=linux")
    with pytest.raises(ModelError, match=r"(?i)shape|size|channels"):
        client.submit(model, example_inputs=(image[:, :2],), recipes=["pytorch"], devices="platform=linux")
    with pytest.raises(UserError):
        client.submit(model, example_inputs=(), recipes=["pytorch"], devices="platform=linux")
    assert len(client.runs()) == runs_before


def test_the_same_from_the_shell(
    client: farm.Client, token: str, model: SmallNet, image: torch.Tensor, tmp_path: Path
) -> None:
    import numpy as np

    torch.export.save(torch.export.export(model, (image,)), tmp_path / "small.pt2")
    np.savez(tmp_path / "inputs.npz", **{"0.0": image.numpy()})

    def command(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"FARM_URL": client.url, "FARM_TOKEN": token}
        done = subprocess.run(
            [sys.executable, "-m", "farm.cli.app", *arguments],
            capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    assert "local-cpu" in command("devices").stdout
    added = json.loads(command("models", "add", "small.pt2", "--inputs", "inputs.npz", "--json").stdout)
    assert added["spec"]["name"] == "small"
    submitted = command(
        "submit", "small", "--recipes", "pytorch,onnxruntime", "--devices", "platform=linux", "--threads", "1",
        "--max-seconds", "1", "--wait", "--json",
    )  # fmt: skip
    run_id = str(json.loads(submitted.stdout)["run"]["id"])
    assert json.loads(command("runs", "show", run_id, "--json").stdout)["run"]["state"] == "finished"
    comparison = command("compare", run_id).stdout
    assert "onnxruntime" in comparison
    assert "pytorch" in comparison
    command("report", run_id, "-o", "out.html")
    assert "plotly" in (tmp_path / "out.html").read_text().lower()
    assert "no run 999" in command("runs", "show", "999", expect=2).stderr.lower()
    assert "onnxruntime" in command("recipes").stdout
    assert "ok" in command("doctor").stdout
