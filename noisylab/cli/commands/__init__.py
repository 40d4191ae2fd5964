"""The commands that train, evaluate or read runs."""
