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
class Job:
    """One measurement. ``files`` maps artifact file names (``model.onnx``) to paths; no ``cpus``: not pinned."""

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

    @classmethod
    def read(cls, path: Path) -> Job:
        """Raises OSError, or ValueError naming the field that is missing."""
        fields: dict[str, Any] = json.loads(path.read_text())
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
            )
        except KeyError as missing:
            raise ValueError(f"{path} has no field {missing}") from missing
