"""One run: its parts built and tried, its processes, its loggers."""
