"""``farm up`` and ``farm agent``: start the processes, start them again when they die, end them all at the end."""
