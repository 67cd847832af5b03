"""All reasons there are against a result, in one table, and the limits beyond which they hold."""

from __future__ import annotations

from dataclasses import dataclass

from farm.analysis.growth import MAX_GROWTH_BYTES
from farm.analysis.statistics import OUTLIER_RATIO
from farm.types import VerdictLevel

# What the farm tolerates. The drift limit is the 5 % within which MLPerf Mobile asks results to be replicable; the
# others are this project's own choices.
MAX_DRIFT_RATIO = 1.05
MAX_OUTLIER_RATIO = 0.05  # above it, p95 is itself made of outliers
MAX_BACKGROUND_CPU_RATIO = 0.10
MAX_STEAL_RATIO = 0.02
MIN_FREQUENCY_LIMIT_RATIO = 0.98  # of the most the CPU can do; below it, a cap is in force


@dataclass(frozen=True)
class Rule:
    """What there is to say against a result: when it holds, and what to do about it. ``TRUSTED``: only a note."""

    code: str
    level: VerdictLevel
    meaning: str
    remedy: str


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule(
            "non-finite-output",
            VerdictLevel.INVALID,
            "The variant answered NaN or infinity.",
            "Look at the recipe: a quantization range or a float16 overflow is the usual cause.",
        ),
        Rule(
            "parity-missing",
            VerdictLevel.INVALID,
            "Its outputs were not compared with PyTorch's, so it may compute anything.",
            "See in the job's attempts why the comparison did not happen, and run it again.",
        ),
        Rule(
            "parity-failed",
            VerdictLevel.INVALID,
            "Its outputs are further from PyTorch's than the recipe allows.",
            "Give calibration inputs that look like real ones, or set the recipe's limits to what you can accept.",
        ),
        Rule(
            "too-few-samples",
            VerdictLevel.SUSPECT,
            "Fewer samples than the protocol asks for.",
            "Raise the protocol's max_seconds.",
        ),
        Rule(
            "interval-not-reached",
            VerdictLevel.SUSPECT,
            "The interval of the median is wider than the protocol's target, or there is none.",
            "Quiet the machine, raise max_seconds, or accept a wider target_half_width_ratio.",
        ),
        Rule(
            "warmup-incomplete",
            VerdictLevel.SUSPECT,
            f"The first tenth of the samples was over {MAX_DRIFT_RATIO - 1:.0%} slower than the last half.",
            "Raise the protocol's min_warmup_seconds.",
        ),
        Rule(
            "drift",
            VerdictLevel.SUSPECT,
            f"First and last third of the samples differ by over {MAX_DRIFT_RATIO - 1:.0%}: "
            "heat, throttling or other work.",
            "Let the device cool down and rest, then run it again.",
        ),
        Rule(
            "outliers",
            VerdictLevel.SUSPECT,
            f"Over {MAX_OUTLIER_RATIO:.0%} of the samples took more than {OUTLIER_RATIO:g} times the median.",
            "Look for other work on the device, and for more threads than free CPUs.",
        ),
        Rule(
            "machine-busy",
            VerdictLevel.SUSPECT,
            f"Other processes took over {MAX_BACKGROUND_CPU_RATIO:.0%} of the machine's CPU time meanwhile.",
            "Stop them, or keep builds off devices that measure.",
        ),
        Rule(
            "cpu-stolen",
            VerdictLevel.SUSPECT,
            f"The hypervisor gave over {MAX_STEAL_RATIO:.0%} of the CPU time to other virtual machines.",
            "Measure on a machine of your own or on dedicated virtual CPUs.",
        ),
        Rule(
            "throttled",
            VerdictLevel.SUSPECT,
            f"The clock was capped below {MIN_FREQUENCY_LIMIT_RATIO:.0%} of what the CPU can do, a cooling device was "
            "active, or the phone's thermal status was not none.",
            "Let the device cool down; check its power mode and frequency limits.",
        ),
        Rule(
            "thermal-override",
            VerdictLevel.SUSPECT,
            "The phone's thermal status was set by hand, so nothing vouches for a cool phone.",
            "Undo it: `adb shell cmd thermalservice reset`.",
        ),
        Rule(
            "wrong-cpus",
            VerdictLevel.SUSPECT,
            "The process ran on other CPUs than it was to be pinned to.",
            "Run it again; if it stays, the phone's scheduler moves processes of the shell: measure on all cores.",
        ),
        Rule(
            "low-priority",
            VerdictLevel.SUSPECT,
            "The process ran at a lower priority than programs have: whatever else ran on the device could go first.",
            "Start the agent without `nice`; in a Ray cluster of your own, set RAY_worker_niceness=0 for its nodes.",
        ),
        Rule(
            "energy-refused",
            VerdictLevel.TRUSTED,
            "Power was recorded, and no energy can be told from it. The latencies are as good as without it.",
            "The reason says what was wrong (docs/energy.md).",
        ),
        Rule(
            "too-few-cpus",
            VerdictLevel.SUSPECT,
            "The process was allowed on fewer CPUs than the scenario has threads.",
            "Use fewer threads, or free CPUs on the device.",
        ),
        Rule(
            "memory-growth",
            VerdictLevel.SUSPECT,
            f"Memory grew by over {MAX_GROWTH_BYTES / 2**20:g} MiB per 1,000 inferences, and did not stop: a leak, "
            "which ends a long-lived process and slows it down before.",
            "Look for what the program or its custom operators keep from inference to inference; try another runtime.",
        ),
        Rule(
            "meter-unreadable",
            VerdictLevel.SUSPECT,
            "The load of other work could not be read, so nothing vouches for a quiet machine.",
            "Run `farm doctor` on the agent's machine.",
        ),
        Rule(
            "delegate-refused",
            VerdictLevel.INVALID,
            "The accelerator's delegate took nothing of the graph: the figure is the CPU's.",
            "Use a recipe that the delegate can run (float16 or int8, other operators), or measure on the CPU.",
        ),
        Rule(
            "delegate-partly",
            VerdictLevel.SUSPECT,
            "The accelerator's delegate took a part of the graph, the CPU ran the rest.",
            "Look at which operators are left over; a recipe without them may be much faster.",
        ),
        Rule(
            "delegate-unproven",
            VerdictLevel.SUSPECT,
            "The native tool printed nothing that shows that the accelerator's delegate took the graph.",
            "Build the tool with its log messages on, or compare with its figure for the CPU.",
        ),
        Rule(
            "outputs-unseen",
            VerdictLevel.SUSPECT,
            "The native tool shows no outputs, so nothing says that the variant computes the same there.",
            "Measure the same recipe with the farm's own harness, or with a tool that writes its outputs.",
        ),
        Rule(
            "tool-summary",
            VerdictLevel.SUSPECT,
            "The native tool printed summaries and no samples: no interval, and drift and outliers stay unseen.",
            "Take a newer version of the tool that prints every run, or the farm's own harness.",
        ),
        Rule(
            "tool-figures",
            VerdictLevel.TRUSTED,
            "A native tool took the figures: its own warm-up, its own clock, and not the farm's stop rule.",
            "Compare it with other figures of the same tool only.",
        ),
        Rule(
            "emulated",
            VerdictLevel.SUSPECT,
            "The accelerator was emulated: its outputs can be compared, but there is no latency of it.",
            "Measure on a device that has the accelerator.",
        ),
        Rule(
            "simulated",
            VerdictLevel.TRUSTED,
            "Its device is virtual: nothing was run, all figures come from a model and say nothing about the variant.",
            "Measure on a real device.",
        ),
        Rule(
            "inputs-filled",
            VerdictLevel.TRUSTED,
            "Values that were missing in the model's inputs were filled as declared.",
            "Give complete inputs.",
        ),
    )
}
