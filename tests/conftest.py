"""Hypothesis without deadlines: test machines are shared, and a slow moment is no defect. No phones but virtual ones:
agents of tests must not find, or start an adb server for, those of whoever runs them."""

import faulthandler
import os
import sys
import threading
import time

import pytest
from hypothesis import settings

END_SECONDS = 60.0

os.environ["FARM_AGENT_ANDROID"] = "false"

settings.register_profile("farm", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=2_000)  # pytest --hypothesis-profile thorough
settings.load_profile("farm")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A thread that a test left behind would keep this process for ever, whatever the tests said: show where it stands,
    and end as they said."""

    def end() -> None:
        time.sleep(END_SECONDS)
        sys.__stderr__.write(f"The tests are over for {END_SECONDS:g} s, and this keeps their process:\n")
        faulthandler.dump_traceback(sys.__stderr__)
        os._exit(exitstatus)

    threading.Thread(target=end, daemon=True).start()
