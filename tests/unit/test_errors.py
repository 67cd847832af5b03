from __future__ import annotations

import pickle

import pytest

from farm.errors import FarmError, error_classes
from farm.types import Failure


@pytest.mark.parametrize("kind", error_classes())
def test_every_error_crosses_a_process_border_whole(kind: type[FarmError]) -> None:
    error = pickle.loads(pickle.dumps(kind("It broke.", remedy="Mend it.", details={"position": 3})))  # noqa: S301
    assert type(error) is kind
    assert (error.message, error.remedy, error.details) == ("It broke.", "Mend it.", {"position": 3})
    assert str(Failure.of(error)) == f"[{kind.fault}] It broke. Mend it."


def test_codes_are_unique_so_that_clients_can_match_on_them() -> None:
    codes = [kind.code for kind in error_classes()]
    assert len(codes) == len(set(codes))
