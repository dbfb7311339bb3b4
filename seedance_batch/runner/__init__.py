"""Submits, watches and fetches."""
