"""Batch manifest processor for Seedance 2.0 on HiAPI."""
