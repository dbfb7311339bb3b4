"""``python -m seedance_batch``."""

from seedance_batch.cli.main import entry

if __name__ == "__main__":
    entry()
