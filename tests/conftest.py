"""Hypothesis without deadlines: test machines are shared, and a slow moment is no defect. No phones but virtual ones:
agents of tests must not find, or start an adb server for, those of whoever runs them."""

import faulthandler
import os
import sys

import pytest
from hypothesis import settings

END_SECONDS = 60.0

os.environ["FARM_AGENT_ANDROID"] = "false"

settings.register_profile("farm", deadline=None)
settings.load_profile("farm")


def pytest_unconfigure(config: pytest.Config) -> None:
    """A thread that a test left behind would keep this process for ever: rather fail, and show where it stands."""
    faulthandler.dump_traceback_later(END_SECONDS, exit=True, file=sys.__stderr__)
