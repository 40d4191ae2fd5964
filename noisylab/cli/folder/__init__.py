"""Run folders: which command owns them, which process works in them, and what may be replaced."""
