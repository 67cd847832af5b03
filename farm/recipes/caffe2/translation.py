"""A pair of Caffe2 nets as one ONNX model. Pure: from bytes to a ``ModelProto``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from farm.errors import ModelError
from farm.recipes.caffe2 import fills, netdef
from farm.recipes.caffe2.arguments import Arguments
from farm.recipes.caffe2.graph import Graph
from farm.recipes.caffe2.netdef import Net, Operator
from farm.recipes.caffe2.operators import OPERATORS
from farm.recipes.caffe2.pair import INIT, PREDICT
from farm.recipes.caffe2.step import Step
from farm.recipes.samples import Array
from farm.types import TensorSpec

_SHOWN = 8


def translate(init: bytes, predict: bytes, inputs: Sequence[TensorSpec]) -> Any:
    """The ``onnx.ModelProto`` of the predict net, with the init net's weights, for inputs of these shapes.

    Raises ModelError: unknown operators (all of them, with their places), damaged nets, inputs that do not fit.
    """
    weights_net, net = netdef.parse(init, INIT), netdef.parse(predict, PREDICT)
    if not net.operators:
        raise ModelError(f"{PREDICT} has no operator.", remedy="Check that the two files are not interchanged or cut.")
    _check_known(weights_net, INIT, fills.FILLS)
    _check_known(net, PREDICT, {**OPERATORS, **fills.FILLS})
    # The input's own blob is often filled as well, so that the exporting program had something there.
    named = {spec.name for spec in inputs}
    weights = {
        operator.outputs[0]: fills.fill(operator)
        for operator in weights_net.operators
        if not (operator.outputs and operator.outputs[0] in named)
    }
    return _Translation(net, weights, inputs).model()


def _check_known(net: Net, file: str, known: Any) -> None:
    unknown = [operator for operator in net.operators if operator.type not in known]
    if not unknown:
        return
    counts = Counter(operator.type for operator in unknown)
    places = {operator.type: str(operator.index) for operator in reversed(unknown)}
    listed = [f"{count} x {kind} (first: operator {places[kind]})" for kind, count in counts.most_common(_SHOWN)]
    more = f" and {len(counts) - _SHOWN} more types" if len(counts) > _SHOWN else ""
    why = {reason for kind in counts if (reason := fills.why_random(kind))}
    raise ModelError(
        f"{file} has operators that the farm does not translate: {', '.join(listed)}{more}."
        + (f" Of a fill with random numbers: {why.pop()}." if why else ""),
        remedy="Upload the model as ONNX, or replace these operators. Known: "
        f"{', '.join(sorted(OPERATORS))}; in init nets {', '.join(sorted(fills.FILLS))}.",
        details={"unknown": dict(counts)},
    )


class _Translation:
    def __init__(self, net: Net, weights: dict[str, Array], inputs: Sequence[TensorSpec]) -> None:
        self._net, self._weights = net, weights
        names = self._input_names(inputs)
        self._graph = Graph(list(zip(names, inputs, strict=True)))
        self._values: dict[str, str] = {name: name for name in names}  # of blobs as they are now
        self._unmade: dict[str, Operator] = {}  # second outputs that no translation makes

    def _input_names(self, inputs: Sequence[TensorSpec]) -> list[str]:
        """What the net reads and nobody fills, in the net's order."""
        free = [name for name in self._net.external_inputs if name not in self._weights]
        if not self._net.external_inputs:
            made: set[str] = set(self._weights)
            for operator in self._net.operators:
                free += [name for name in operator.inputs if name not in made and name not in free]
                made.update(operator.outputs)
        if len(free) != len(inputs):
            raise ModelError(
                f"{PREDICT} takes {len(free)} inputs ({', '.join(free[:_SHOWN]) or 'all are filled by the init net'}), "
                f"the example has {len(inputs)}.",
                remedy="Give one array per input. An input that the init net fills as well must be named: "
                f"input_names=[{self._net.external_inputs[0] if self._net.external_inputs else 'data'!r}].",
            )
        return free

    def model(self) -> Any:
        for operator in self._net.operators:
            if operator.type in fills.FILLS:
                self._weights[operator.outputs[0]] = fills.fill(operator)
                self._values.pop(operator.outputs[0], None)
            else:
                self._add(operator)
        wanted = self._net.external_outputs or self._net.operators[-1].outputs[:1]
        if not wanted:
            raise ModelError(f"{PREDICT} has no output.", remedy="Name them as external_output.")
        last = self._net.operators[-1]
        outputs = [(name, self._value(name, last)) for name in dict.fromkeys(wanted)]
        return self._graph.finish(outputs, self._net.name)

    def _add(self, operator: Operator) -> None:
        from onnx.shape_inference import InferenceError

        if not operator.inputs or not operator.outputs:
            raise ModelError(f"{operator} has no inputs or no outputs.", remedy="The net is damaged: copy it again.")
        arguments = Arguments(operator)
        step = Step(operator, self._graph, tuple(self._value(name, operator) for name in operator.inputs), arguments)
        try:
            OPERATORS[operator.type](step)
        except (InferenceError, LookupError, ValueError, TypeError) as error:
            # ONNX's own checks, too few inputs, or axes that are not there: the operands do not fit each other.
            shapes = ", ".join(str(list(self._graph.shape(name))) for name in step.inputs)
            raise ModelError(
                f"{operator} does not fit its inputs of shapes {shapes}: {' '.join(str(error).split())}.",
                remedy="Check that the example input has the shape and axis order that the net was made for.",
            ) from error
        arguments.check_all_read()
        for name, value in zip(operator.outputs, step.results, strict=False):
            self._values[name] = value
            self._unmade.pop(name, None)
        for name in operator.outputs[len(step.results) :]:
            self._values.pop(name, None)
            self._unmade[name] = operator

    def _value(self, name: str, reader: Operator) -> str:
        """The graph's value of a blob; weights enter the graph when they are first read."""
        if name in self._values:
            return self._values[name]
        if name in self._unmade:
            raise ModelError(
                f"{reader} reads {name!r}, which the farm does not make of {self._unmade[name]}.",
                remedy="Upload the model as ONNX: this output has no meaning in inference.",
            )
        if name not in self._weights:
            raise ModelError(
                f"{reader} reads {name!r}, which neither an operator before it nor the init net makes.",
                remedy="Check that both files are of the same model.",
            )
        self._values[name] = self._graph.constant(self._weights[name], name)
        return self._values[name]
