"""``farm up`` and ``farm agent``: start the processes, start them again when they die, end them all at the end."""

from farm.supervisor.agent import agent
from farm.supervisor.head import up

__all__ = ["agent", "up"]
