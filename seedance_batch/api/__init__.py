"""HiAPI over HTTP, its callbacks, and which addresses may be reached."""
