"""Measuring how well signals are read from pictures of ECG pages."""
