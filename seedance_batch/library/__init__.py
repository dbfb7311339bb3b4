"""The package from Python; its public names are those of ``seedance_batch`` itself."""
