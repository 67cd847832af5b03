import base64

from farm.notifications.webhook import message_id, payload, signature
from tests.integration.notifications.notices import notice


def test_it_signs_like_the_reference_implementations() -> None:
    # The example of the standard's libraries.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_message_that_comes_again_is_known_by_its_id_and_is_the_same() -> None:
    again = notice(attempts=3)
    assert message_id(again) == message_id(notice())
    assert payload(again) == payload(notice())
    assert message_id(notice(cause="regression 13 confirmed")) != message_id(notice())
