"""What smaller variants cost in accuracy: ``make accuracy``, or ``python -m examples.accuracy``.

A small network for scikit-learn's digits is quantized, pruned, clustered and distilled; each variant answers 597
labelled images on the device, and the table has its accuracy and what it loses against PyTorch, with an interval. ROC
curves and confusion matrices are in ``report/accuracy.html``. The farm's state is kept in ``.demo``.
"""

from __future__ import annotations

from pathlib import Path

import farm
from examples import digits

STATE = Path(".demo")
REPORT = Path("report/accuracy.html")
SMALLER = farm.prune(0.5, structured=True)
RECIPES = [
    "pytorch",
    "onnxruntime",
    "onnxruntime-int8",
    "litert-int8",
    farm.Recipe("onnxruntime", name="pruned", transforms=[SMALLER]),
    farm.Recipe("onnxruntime", name="pruned-distilled", transforms=[SMALLER, farm.distill(steps=400)]),
    farm.Recipe(
        "onnxruntime",
        name="pruned-distilled-int8",
        transforms=[SMALLER, farm.distill(steps=400), farm.quantize("int8", static=True)],
    ),
    farm.Recipe("onnxruntime", name="clustered-2-bit", transforms=[farm.palettize(2)]),
    farm.Recipe(
        "onnxruntime", name="clustered-2-bit-distilled", transforms=[farm.palettize(2), farm.distill(steps=400)]
    ),
]


def main() -> None:
    data = digits.load_digits()
    with farm.embedded_farm(STATE) as client:
        run = client.submit(
            digits.load_model(data),
            example_inputs=(data.example,),
            parity_inputs=[(image,) for image in data.parity],
            calibration_inputs=[(image,) for image in data.calibration],
            training_inputs=[(image,) for image in data.training_inputs],
            evaluation=farm.EvaluationSet(data.evaluation, data.labels, class_names=digits.CLASSES),
            recipes=RECIPES,
            devices="platform=linux",
            protocol=farm.Protocol(max_seconds=1.0, growth_seconds=0.5),
            name="accuracy of digits",
            model_name="digits",
        )
        run.wait(progress=True)
        print(run.compare())
        REPORT.parent.mkdir(exist_ok=True)
        run.report(REPORT)
    print(f"\nThe report is {REPORT}.")


if __name__ == "__main__":
    main()
