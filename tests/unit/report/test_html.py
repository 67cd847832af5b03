from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from farm.analysis.comparison import Comparison
from farm.errors import NotFoundError
from farm.report.html import render
from farm.types import Failure, JobState
from tests.unit.analysis.outcomes import device, failed, finished, job, run, series
from tests.unit.report.scene import comparison

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """Tags with attributes, visible text, and whether every tag was closed."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def html() -> str:
    shown, samples = comparison()
    return render(shown, samples)


def words(html: str) -> str:
    return " ".join(Page(html).text.split())


def test_it_is_one_whole_document(html: str) -> None:
    assert html.startswith("<!doctype html>")
    assert Page(html).open == []


def test_it_loads_nothing_from_the_network(html: str) -> None:
    tags = Page(html).tags
    assert not [tag for tag, attributes in tags if {"src", "href", "srcset", "action"} & attributes.keys()]
    assert not [tag for tag, _ in tags if tag in ("link", "iframe", "object", "embed", "base")]
    (policy,) = [attributes["content"] for tag, attributes in tags if attributes.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'nonce-")
    own = html[: html.index("plotly.js v")] + html[html.rindex('"use strict"') :]
    assert not re.search(r"url\(|@import|https?://", own)


def test_it_says_what_to_ship_and_what_to_keep_in_mind(html: str) -> None:
    text = words(html)
    assert "executorch-xnnpack-int8 trusted p50 11.90 ms" in text
    assert "Faster, but not as trustworthy: onnxruntime-int8 (invalid: parity-failed)." in text
    assert "check its accuracy on labelled data" in text
    assert "10 trusted, 3 suspect, 1 invalid, 2 failed" in text


def test_it_holds_every_reason_failure_and_absence(html: str) -> None:
    text = words(html)
    for told in (
        "machine-busy Other processes took 37% of the machine's CPU time.",
        "aten.upsample_bicubic2d is not supported",
        'File "model.py", line 41, in forward',
        "cpu0 has no cpufreq driver (usual inside a virtual machine)",
        "an interval at 95% needs 368",
    ):
        assert told in text


def test_it_says_how_it_was_measured(html: str) -> None:
    text = words(html)
    for told in ("≥ 3 runs and 0.5 s", "±2 % at 95 %", "AMD EPYC 7B13", "virtual machine (kvm)", "torch 2.13.0+cpu"):
        assert told in text


def test_it_has_five_plots_per_setting(html: str) -> None:
    tags = Page(html).tags
    assert len([1 for tag, attributes in tags if attributes.get("type") == "application/json"]) == 10
    assert words(html).count("In the order measured") == 2


def test_names_and_messages_from_elsewhere_stay_text() -> None:
    evil = device("phone", device_model=HOSTILE, soc=HOSTILE, os_version=HOSTILE, hypervisor=HOSTILE)
    failure = Failure(fault="device", code="x", message=HOSTILE, remedy=HOSTILE, log_tail=HOSTILE)
    lost = failed("litert", id=3, on=evil).model_copy(
        update={"job": job("litert", 3, device_id="phone", state=JobState.FAILED, failure=failure)}
    )
    good = finished("onnxruntime", series(0.01, 200), id=2, on=evil, runtime_versions={HOSTILE: HOSTILE})
    shown = Comparison([good, lost], runs=[run(model_name=HOSTILE, name=HOSTILE)])
    html = render(shown, {2: series(0.01, 200).tolist()}, title=HOSTILE)
    for page in (html, shown._repr_html_()):
        tags = Page(page).tags
        assert not [
            tag for tag, attributes in tags if tag == "img" or any(name.startswith("on") for name in attributes)
        ]
        assert "<script>alert" not in page
        assert HOSTILE in Page(page).text
    nonces = {attributes.get("nonce") for tag, attributes in Page(html).tags if tag == "script"}
    assert len(nonces) == 1 and None not in nonces


def test_jobs_whose_samples_are_gone_are_named(tmp_path: Path) -> None:
    kept = series(0.02, 300)

    def load(job_id: int) -> list[float]:
        if job_id == 1:
            raise NotFoundError("The samples of job 1 were removed.", remedy="Run it again.")
        return kept.tolist()

    outcomes = [finished("pytorch", series(0.06, 200), id=1), finished("onnxruntime", kept, id=2)]
    path = Comparison(outcomes, load_samples=load).report(tmp_path / "new" / "report.html")
    text = words(path.read_text(encoding="utf-8"))
    assert "Raw samples are not at hand for: pytorch." in text
    assert "In the order measured" in text


def test_virtual_devices_are_labelled() -> None:
    fake = device("a-phone", virtual=True)
    shown = Comparison([finished("onnxruntime", series(0.01, 200), on=fake)])
    text = words(render(shown, {}))
    assert "a-phone virtual" in text
    assert "Measured on a virtual device: good for trying things out, not for a decision." in text
    assert "(virtual)" in words(shown._repr_html_())


def test_nothing_to_show_is_said() -> None:
    assert "No jobs to compare." in words(render(Comparison([]), {}))


def test_a_run_without_any_result_still_has_a_report() -> None:
    text = words(render(Comparison([failed("litert")], runs=[run()]), {}))
    assert "No recommendation: litert is failed." in text


def test_a_notebook_gets_the_table() -> None:
    fragment = comparison()[0]._repr_html_()
    assert Page(fragment).open == []
    assert "<script" not in fragment
    assert "executorch-xnnpack-int8" in Page(fragment).text
