"""A phone behind adb: its shell, its files, its meters, its state."""
