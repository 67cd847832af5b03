import errno

import pytest

from farm.errors import InfrastructureError, ModelError, RecipeError
from farm.recipes.boundary import REASON_CHARACTERS, Boundary, reason


def _user_function():
    raise LookupError("no operator\n  flip")


def test_the_foreign_reason_and_the_line_are_in_our_error():
    with pytest.raises(RecipeError) as caught, Boundary(RecipeError, "Converting failed", "Do this."):
        _user_function()
    assert caught.value.message.startswith("Converting failed: LookupError: no operator flip. At ") or (
        "LookupError: no operator flip" in caught.value.message
    )
    assert __file__ in caught.value.details["user_code"]
    assert "in _user_function" in caught.value.details["user_code"]
    assert caught.value.remedy == "Do this."


def test_our_own_errors_pass_unchanged():
    error = ModelError("m", remedy="r")
    with pytest.raises(ModelError) as caught, Boundary(RecipeError, "Converting failed", "Do this."):
        raise error
    assert caught.value is error


def test_a_full_disk_is_nobodys_recipe():
    with pytest.raises(InfrastructureError, match="disk is full"), Boundary(RecipeError, "Saving failed", "Do this."):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_causes_are_told_once_and_length_is_bounded():
    inner = ValueError("inner")
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    assert reason(outer) == "RuntimeError: outer Caused by ValueError: inner"
    assert len(reason(RuntimeError("x" * 10_000))) == REASON_CHARACTERS


def test_interrupts_are_not_errors_of_foreign_code():
    with pytest.raises(KeyboardInterrupt), Boundary(RecipeError, "Converting failed", "Do this."):
        raise KeyboardInterrupt
