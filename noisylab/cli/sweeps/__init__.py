"""Hyper-parameter search: the values that are searched, where its trials are kept, and how they are trained."""
