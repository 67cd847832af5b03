"""The arguments of one operator, with Caffe2's defaults. What nobody asked for is told: it might change the result."""

from __future__ import annotations

from collections.abc import Mapping

from farm.errors import ModelError
from farm.recipes.caffe2.netdef import Operator, Value

# They choose an implementation, or matter to training only; an operator that has a use for one reads it.
_WITHOUT_MEANING = {
    "allow_broadcast_fastpath", "cudnn_exhaustive_search", "cudnn_state", "debug_info", "enable_tensor_core",
    "engine", "exhaustive_search", "float16_compute", "init_params", "is_test", "momentum", "no_bias", "order",
    "shared_buffer", "use_cudnn", "ws_nbytes_limit",
}  # fmt: skip


class Arguments:
    """Raises ModelError wherever a value is not of the kind that its operator defines."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._values: Mapping[str, Value] = operator.arguments
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self._read.add(name)
        return name in self._values

    def get(self, name: str) -> Value | None:
        self._read.add(name)
        return self._values.get(name)

    def integer(self, name: str, default: int) -> int:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, int):
            raise self.wrong(name, "a whole number")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, (int, float)):
            raise self.wrong(name, "a number")
        return float(value)

    def text(self, name: str, default: str) -> str:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bytes):
            raise self.wrong(name, "text")
        return value.decode(errors="backslashreplace")

    def integers(self, name: str) -> tuple[int, ...]:
        value = self.get(name)
        if value is None:
            return ()
        if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
            raise self.wrong(name, "a list of whole numbers")
        return tuple(int(item) for item in value)

    def channels_last(self) -> bool:
        order = self.text("order", "NCHW")
        if order not in ("NCHW", "NHWC"):
            raise self.wrong("order", "NCHW or NHWC")
        return order == "NHWC"

    def wrong(self, name: str, wanted: str) -> ModelError:
        return ModelError(
            f"The argument {name}={self._values.get(name)!r} of {self._operator} is not {wanted}.",
            remedy="Check the net: Caffe2 itself would refuse it.",
        )

    def check_all_read(self) -> None:
        """Raises ModelError for arguments that the translation does not know."""
        if left := sorted(self._values.keys() - self._read - _WITHOUT_MEANING):
            raise ModelError(
                f"The farm does not know the argument {', '.join(left)} of {self._operator}.",
                remedy="Without it the translation might compute something else: remove it from the net if it has no "
                "meaning, or upload the model as ONNX.",
            )
