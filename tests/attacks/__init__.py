"""Every attack that is known to matter, against every reader, in one table."""
