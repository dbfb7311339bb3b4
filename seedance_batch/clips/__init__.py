"""Clips from URLs to checked files and posters."""
