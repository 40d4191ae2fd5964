"""Checkpoint files, and what they record about a method and its data in addition to Lightning's state."""
