"""Hypothesis without deadlines: test machines are shared, and a slow moment is no defect."""

from hypothesis import settings

settings.register_profile("farm", deadline=None)
settings.load_profile("farm")
