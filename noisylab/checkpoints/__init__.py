"""Checkpoint files, and what they say of a method and of its data beside the state that Lightning keeps."""
