"""How often an orbit meets a set: exact counts by three methods, and bounds for every start."""
