"""The files that a variant's score is worked out from: what the device answered, what PyTorch does, what is right."""

from __future__ import annotations

from dataclasses import dataclass

from farm import steps
from farm.analysis.evaluation import evaluate
from farm.errors import UserError
from farm.recipes import samples
from farm.recipes.runtimes.reference import EVALUATION_FILE
from farm.recipes.samples import Array
from farm.store.artifacts import ArtifactStore
from farm.store.reading import ConclusionParts
from farm.types import Blob, Evaluation, EvaluationSpec, Measurement
from farm.types.steps import Step


@dataclass(frozen=True)
class Labelled:
    """All by reference, for another process to read."""

    store_url: str
    spec: EvaluationSpec
    outputs: Blob
    reference_outputs: Blob
    after: tuple[Step, ...] = ()  # the model's steps after it, taken here for both

    def evaluated(self, confidence: float) -> Evaluation | str:
        """Or why there is none. Raises InfrastructureError where the store does not answer."""
        store = ArtifactStore(self.store_url)
        try:
            outputs = samples.numbered(_arrays(store, self.outputs), "device's outputs")
            references = samples.numbered(_arrays(store, self.reference_outputs), "reference outputs")
            if self.after:
                outputs = [steps.run(self.after, sample, "The device's outputs") for sample in outputs]
                references = [steps.run(self.after, sample, "PyTorch's outputs") for sample in references]
            found = evaluate(self.spec, outputs, references, _arrays(store, self.spec.labels), confidence)
        except UserError as error:  # a file that is not there, labels that do not fit what the model answers
            return str(error)
        return found.model_copy(update={"outputs": self.outputs})


def _arrays(store: ArtifactStore, blob: Blob) -> dict[str, Array]:
    with store.open(blob.sha256) as file:
        return samples.read_arrays(file, blob.name)


def labelled(parts: ConclusionParts, measurement: Measurement, store_url: str) -> Labelled | str | None:
    """What to evaluate; or why that cannot be; or None where the model has no labelled set."""
    spec = parts.model.evaluation
    if spec is None:
        return None
    if measurement.simulated:
        return "its device is virtual: there are no outputs"
    if measurement.evaluation_outputs is None:
        return measurement.absent.get("evaluation", "its driver does not run evaluation sets")
    built = parts.reference_artifact.files if parts.reference_artifact else ()
    reference = spec.reference_outputs or next((file for file in built if file.name == EVALUATION_FILE), None)
    if reference is None:
        return "there are no outputs of PyTorch to compare with"
    return Labelled(store_url, spec, measurement.evaluation_outputs, reference, parts.model.postprocessing)
