"""The command line."""

from noisylab.cli.main import main

__all__ = ["main"]
