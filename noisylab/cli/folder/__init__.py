"""Run folders: whose they are, who works in them, what may be replaced."""
