"""The newest attempt of each job that was here, so that a stale fencing token is told."""

from __future__ import annotations

from collections import OrderedDict

from farm.errors import InfrastructureError
from farm.types import Lease


class Fence:
    """Kept in memory for the last ``limit`` jobs: the head's own check of every event is what counts in the end, this
    one saves the device the work."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._epochs: OrderedDict[int, int] = OrderedDict()

    def admit(self, lease: Lease) -> None:
        """Raises InfrastructureError when a newer attempt of its job was here."""
        if self.is_stale(lease):
            raise InfrastructureError(
                f"Attempt {lease.attempt_id} (epoch {lease.epoch} of job {lease.job_id}) is superseded: "
                f"epoch {self._epochs[lease.job_id]} was here.",
                remedy="Nothing is lost: the newer attempt counts.",
            )
        self.note(lease)

    def note(self, lease: Lease) -> None:
        """It was here, whether it may run or not."""
        self._epochs[lease.job_id] = max(lease.epoch, self._epochs.get(lease.job_id, 0))
        self._epochs.move_to_end(lease.job_id)
        if len(self._epochs) > self._limit:
            self._epochs.popitem(last=False)

    def is_stale(self, lease: Lease) -> bool:
        return lease.epoch < self._epochs.get(lease.job_id, 0)
