"""One operator on its way into the graph: what its translation may ask for and has to give."""

from __future__ import annotations

from dataclasses import dataclass, field

from farm.errors import ModelError
from farm.recipes.caffe2.arguments import Arguments
from farm.recipes.caffe2.graph import Graph
from farm.recipes.caffe2.netdef import Operator


@dataclass
class Step:
    """``inputs``: values of the graph, one per input; ``results``: those that became of the operator's outputs."""

    operator: Operator
    graph: Graph
    inputs: tuple[str, ...]
    arguments: Arguments
    results: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.operator.outputs

    def rank(self, index: int = 0) -> int:
        return len(self.graph.shape(self.inputs[index]))

    def channels_first(self, index: int, last: bool) -> str:
        """An input with its channels as axis 1; ``last``: they are the last axis now."""
        if not last:
            return self.inputs[index]
        rank = self.rank(index)
        return self.graph.transposed(self.inputs[index], (0, rank - 1, *range(1, rank - 1)))

    def check_channels(self, value: str, wanted: int) -> None:
        """Raises ValueError where axis 1 of ``value`` is of another size: ONNX looks at that only when it runs."""
        shape = self.graph.shape(value)
        if len(shape) < 2 or shape[1] != wanted:
            raise ValueError(f"its weights are for {wanted} channels")

    def give(self, value: str, *, channels_last: bool = False) -> None:
        """The next output; ``channels_last``: its channels, which are axis 1 now, belong to the end."""
        if channels_last:
            rank = len(self.graph.shape(value))
            value = self.graph.transposed(value, (0, *range(2, rank), 1))
        self.results.append(value)

    def one(self, kind: str, *inputs: str, **attributes: object) -> None:
        """The next output is that of one ONNX operator on ``inputs`` (default: all of the operator's)."""
        self.give(self.graph.one(kind, inputs or self.inputs, self.outputs[0], **attributes))

    def axis(self, name: str, default: int, index: int = 0) -> int:
        """An axis of an input, counted from the front. Raises ModelError."""
        rank = self.rank(index)
        axis = self.arguments.integer(name, default)
        if not -rank <= axis < rank:
            raise self.arguments.wrong(name, f"an axis of {rank} dimensions")
        return axis % rank

    def constant(self, index: int) -> str:
        """An input that the init net fills."""
        if self.graph.value(self.inputs[index]) is None:
            raise self.unable(f"{self.operator.inputs[index]} being computed")
        return self.inputs[index]

    def unable(self, what: str) -> ModelError:
        return ModelError(
            f"The farm does not translate {what}, as in {self.operator}.",
            remedy="Upload the model as ONNX, or change that operator.",
        )
