from __future__ import annotations

from farm.coordinator.leases import Leases


def test_a_lease_lasts_as_long_as_it_is_renewed() -> None:
    now = 100.0
    leases = Leases(ttl_seconds=30, clock=lambda: now)
    leases.open(1, job_id=10, epoch=2, agent="a")
    leases.open(2, job_id=11, epoch=1, agent="b")
    assert leases.held_by("a") == {1: 30}
    now = 125.0
    assert leases.renew([1], "a") == []
    now = 140.0
    assert leases.held_seconds(10, 2) == 40
    assert [lease.attempt_id for lease in leases.expired()] == [2]
    assert (found := leases.find(10, 2)) is not None
    assert found.attempt_id == 1
    assert leases.find(10, 1) is None, "another epoch of the same job"
    leases.close(2)
    assert leases.expired() == []
    assert leases.get(2) is None
    assert leases.find(11, 1) is None
    assert leases.held_by("b") == {}


def test_who_does_not_hold_a_lease_does_not_renew_it() -> None:
    now = 0.0
    leases = Leases(ttl_seconds=30, clock=lambda: now)
    leases.open(1, job_id=10, epoch=1, agent="a")
    now = 29.0
    assert leases.renew([1, 99], "b") == [1, 99]
    now = 31.0
    assert [lease.attempt_id for lease in leases.expired()] == [1]
