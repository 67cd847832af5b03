"""What is queued, in which order it is due, and what becomes of it."""

from __future__ import annotations

from datetime import timedelta

from farm.store.database import Store
from farm.types import Notice
from tests.values import NOW


def add(store: Store, channel: str, cause: str, later: float = 0.0) -> bool:
    with store.transaction() as tx:
        at = NOW + timedelta(seconds=later)
        return tx.add_notice(channel, "regression", cause, "subject", "text", {"about": cause}, at)


def due(store: Store, later: float = 0.0, but_of: tuple[str, ...] = ()) -> Notice | None:
    with store.reading() as reading:
        return reading.due_notice(NOW + timedelta(seconds=later), but_of)


def test_of_one_cause_a_channel_hears_once(store: Store) -> None:
    assert add(store, "team", "regression 1 confirmed")
    assert not add(store, "team", "regression 1 confirmed", later=60)
    assert add(store, "mail", "regression 1 confirmed")
    with store.reading() as reading:
        assert reading.notice_counts() == {
            channel: {"pending": 1, "sent": 0, "dead": 0} for channel in ("mail", "team")
        }


def test_the_one_that_is_due_for_longest_is_next_and_a_channel_may_rest(store: Store) -> None:
    add(store, "team", "second", later=2)
    add(store, "mail", "first", later=1)
    assert due(store, 0.5) is None
    first, without_mail = due(store, 5), due(store, 5, ("mail",))
    assert first and without_mail
    assert (first.cause, without_mail.cause) == ("first", "second")
    with store.transaction() as tx:
        tx.postpone_notice(first, NOW + timedelta(hours=1), "503")
    again = due(store, 3600)
    assert again
    assert again.cause == "second"


def test_a_dead_letter_keeps_its_reason_until_it_is_revived(store: Store) -> None:
    add(store, "team", "one")
    add(store, "mail", "two")
    notice = due(store)
    assert notice
    with store.transaction() as tx:
        tx.bury_notice(notice, "410 Gone", NOW)
    with store.reading() as reading:
        (dead,) = reading.notices("dead")
        assert (dead.reason, dead.attempts, dead.ended_at) == ("410 Gone", 1, NOW)
        assert [each.channel for each in reading.notices("pending")] == ["mail"]
    with store.transaction() as tx:
        assert tx.revive_notices(NOW, channel="mail") == 1
        assert tx.revive_notices(NOW, ids=[dead.id]) == 1
    with store.transaction() as tx:
        revived = tx.notice(dead.id)
        assert revived
        assert (revived.state, revived.attempts, revived.ended_at) == ("pending", 0, None)
        tx.settle_notice(revived, NOW)
        assert tx.revive_notices(NOW) == 1  # what was sent is not sent again
        sent = tx.notice(dead.id)
    assert sent
    assert (sent.state, sent.reason) == ("sent", "")


def test_an_outcome_of_an_attempt_from_before_changes_nothing(store: Store) -> None:
    add(store, "team", "one")
    notice = due(store)
    assert notice
    with store.transaction() as tx:
        tx.settle_notice(notice, NOW)
        tx.bury_notice(notice, "too late", NOW)
    with store.reading() as reading:
        assert reading.notice_counts()["team"] == {"pending": 0, "sent": 1, "dead": 0}
