"""What runs in the jails: standard library only, read as text by the launcher and never imported by programs."""
