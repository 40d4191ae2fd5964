"""Studies: many runs on one data set, planned together."""
