"""Hypothesis without deadlines: test machines are shared, and a slow moment is no defect. No phones but virtual ones:
agents of tests must not find, or start an adb server for, those of whoever runs them."""

import os

from hypothesis import settings

os.environ["FARM_AGENT_ANDROID"] = "false"

settings.register_profile("farm", deadline=None)
settings.load_profile("farm")
