"""What the harness is asked to do: ``JOB.json``, written by the driver."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Protocol:
    """The fields of ``farm.types.Protocol`` that the harness needs."""

    min_warmup_seconds: float
    min_warmup_runs: int
    min_samples: int
    min_seconds: float
    max_samples: int
    max_seconds: float
    confidence: float
    target_half_width_ratio: float
    growth_seconds: float
    profile: bool


@dataclass(frozen=True)
class Operators:
    """A user's own operators: ``library`` or ``python``, and where the file lies."""

    kind: str
    file: Path


@dataclass(frozen=True)
class Evaluation:
    """A labelled set to run: where its inputs are, where the outputs go, and what they may take."""

    inputs: Path
    outputs: Path
    max_bytes: int
    max_seconds: float


@dataclass(frozen=True)
class Processing:
    """Steps around an inference (``agents.harness.steps``); ``inputs``: the raw example that those before it take."""

    inputs: Path | None
    before: tuple[dict[str, Any], ...]
    after: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Job:
    """One measurement. ``files`` maps artifact file names (``model.onnx``) to paths; no ``cpus``: not pinned.
    ``batch``: samples per inference."""

    runtime: str
    options: dict[str, str | int | float | bool]
    files: dict[str, Path]
    example_inputs: Path
    parity_inputs: Path
    reference_outputs: Path
    threads: int
    cpus: tuple[int, ...]
    protocol: Protocol
    records: Path
    batch: int = 1
    custom_operators: Operators | None = None
    evaluation: Evaluation | None = None
    processing: Processing | None = None

    @classmethod
    def read(cls, path: Path) -> Job:
        """Raises OSError, or ValueError naming the field that is missing."""
        fields: dict[str, Any] = json.loads(path.read_text())
        operators = fields.get("custom_operators")
        try:
            protocol = {name: fields["protocol"][name] for name in Protocol.__dataclass_fields__}
            return cls(
                runtime=fields["runtime"],
                options=fields["options"],
                files={name: Path(file) for name, file in fields["files"].items()},
                example_inputs=Path(fields["example_inputs"]),
                parity_inputs=Path(fields["parity_inputs"]),
                reference_outputs=Path(fields["reference_outputs"]),
                threads=int(fields["threads"]),
                cpus=tuple(fields["cpus"]),
                protocol=Protocol(**protocol),
                records=Path(fields["records"]),
                batch=int(fields.get("batch", 1)),
                custom_operators=Operators(operators["kind"], Path(operators["file"])) if operators else None,
                evaluation=_evaluation(fields.get("evaluation")),
                processing=_processing(fields.get("processing")),
            )
        except KeyError as missing:
            raise ValueError(f"{path} has no field {missing}") from missing


def _evaluation(fields: dict[str, Any] | None) -> Evaluation | None:
    if fields is None:
        return None
    return Evaluation(
        inputs=Path(fields["inputs"]),
        outputs=Path(fields["outputs"]),
        max_bytes=int(fields["max_bytes"]),
        max_seconds=float(fields["max_seconds"]),
    )


def _processing(fields: dict[str, Any] | None) -> Processing | None:
    if fields is None:
        return None
    inputs = Path(fields["inputs"]) if fields["inputs"] else None
    return Processing(inputs, tuple(fields["before"]), tuple(fields["after"]))
