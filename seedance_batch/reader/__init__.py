"""From files to jobs and findings."""
