"""A virtual Android phone: what an adb server, a shell and a program see of a phone that is not there.

docs/virtual-phone.md describes it.
"""

from agents.virtual.phone.faults import Faults
from agents.virtual.phone.phone import VirtualPhone

__all__ = ["Faults", "VirtualPhone"]
