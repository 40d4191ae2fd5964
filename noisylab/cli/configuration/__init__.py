"""From recipes and flags to a checked configuration."""
