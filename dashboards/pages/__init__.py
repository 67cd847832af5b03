"""The five dashboards, by the names of their files."""

from dashboards.pages import comparison, device, fleet, nightly, orchestrator

PAGES = {
    "run-comparison": comparison.PAGE,
    "nightly-regressions": nightly.PAGE,
    "device": device.PAGE,
    "fleet": fleet.PAGE,
    "orchestrator": orchestrator.PAGE,
}
