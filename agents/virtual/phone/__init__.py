"""The virtual phone: what an adb server, a shell and a program see of a phone that is not there."""
