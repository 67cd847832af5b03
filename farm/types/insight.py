"""Where an artifact spends time and memory on a device: the profile, the course of memory, what loading costs."""

from __future__ import annotations

from pydantic import Field

from farm.types.base import Frozen


class OperatorTime(Frozen):
    """One operator of the program as its runtime runs it, over all profiled inferences.

    ``name`` tells it from others of its ``type`` where the runtime keeps names, and is the type again where it does
    not. ``where``: the execution provider, delegate or device it ran on, as the runtime calls it.
    """

    name: str
    type: str
    count: int = Field(ge=1)
    total_seconds: float = Field(ge=0)
    where: str = ""

    @property
    def mean_seconds(self) -> float:
        return self.total_seconds / self.count


class Profile(Frozen):
    """Times of single operators over ``runs`` profiled inferences, the most expensive one first.

    Profiling slows a program down, so it comes after the measured phase and never touches its latencies;
    ``inference_seconds`` is the mean of the profiled inferences, ``unprofiled_seconds`` the median of those measured.
    """

    tool: str
    runs: int = Field(ge=1)
    inference_seconds: float = Field(gt=0)
    unprofiled_seconds: float = Field(gt=0)
    operators: tuple[OperatorTime, ...]

    @property
    def operators_seconds(self) -> float:
        """Sum of all operators, per inference."""
        return sum(row.total_seconds for row in self.operators) / self.runs


class MemoryCourse(Frozen):
    """Resident memory of the process after its phases. The baseline and the peak are in ``Measurement``."""

    after_import_bytes: int
    after_load_bytes: int
    after_first_inference_bytes: int

    @property
    def loaded_bytes(self) -> int:
        """What the loaded model takes: resident memory after the load phase minus that after the import. It has the
        weights as far as they were touched, and what the runtime prepared; a file that is mapped and not yet read is
        not in it."""
        return self.after_load_bytes - self.after_import_bytes


class MemorySeries(Frozen):
    """Memory in use while inferences go on: ``memory_bytes[i]`` after ``inferences[i]`` of them."""

    source: str  # what was read, e.g. "Anonymous in /proc/self/smaps_rollup"
    inferences: tuple[int, ...]
    memory_bytes: tuple[int, ...]


class LoadCost(Frozen):
    """What comes before and beside ``load_seconds``, which is the runtime's initialization from a file in memory.

    ``read_seconds``: reading the artifact's files once from beginning to end, of which ``cached_ratio`` was in the
    page cache before. ``storage_bytes`` came from storage during that and the initialization; ``requested_bytes``
    is what the initialization asked for by read calls, to which mapped files do not count.
    """

    read_seconds: float
    cached_ratio: float | None = Field(default=None, ge=0, le=1)
    storage_bytes: int | None = None
    requested_bytes: int | None = None
