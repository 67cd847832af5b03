"""Who is told what the nights found: messages, channels, and the duty that sends (docs/notifications.md)."""
