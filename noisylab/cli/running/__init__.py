"""Running one experiment: building and trying its parts, its processes and its loggers."""
