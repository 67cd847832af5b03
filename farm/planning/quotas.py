"""How much of the farm one user may have. Checked in the transaction that takes it."""

from __future__ import annotations

from datetime import datetime

from farm.config import Settings
from farm.errors import QuotaError
from farm.store.reading import Reading


def check_jobs(settings: Settings, reading: Reading, user: str, wanted: int) -> None:
    """Raises QuotaError if so many jobs more are too many."""
    quota = settings.jobs_per_user
    if quota is None:
        return
    used = reading.open_jobs_of(user)
    if used + wanted > quota:
        raise QuotaError(
            f"A user has at most {quota:,} jobs that have not ended; {user} has {used:,}, and this would be "
            f"{wanted:,} more.",
            remedy="Wait for runs to end, cancel some (`farm runs cancel`), or choose fewer devices or recipes.",
            details={"quota": quota, "used": used, "wanted": wanted},
        )


def check_reservation(
    settings: Settings, reading: Reading, user: str, device_id: str, seconds: float, at: datetime
) -> None:
    """Raises QuotaError if it is too long, or one device too many."""
    longest = settings.reservation_max_seconds
    if seconds > longest:
        raise QuotaError(
            f"A reservation lasts at most {longest:,.0f} s; {seconds:,.0f} s were asked for.",
            remedy="Reserve for a shorter time, and extend it later.",
            details={"quota": longest, "wanted": seconds},
        )
    quota = settings.devices_per_user
    others = [one.device_id for one in reading.reservations(at, user) if one.device_id != device_id]
    if quota is not None and len(others) >= quota:
        raise QuotaError(
            f"A user has at most {quota:,} devices reserved; {user} has {len(others):,} ({', '.join(others[:5])}), and "
            "this would be 1 more.",
            remedy="Release one first: `farm devices release DEVICE`.",
            details={"quota": quota, "used": len(others), "wanted": 1},
        )
