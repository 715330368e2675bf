"""Windows over rows that never end: aggregated by event time, with what is late told, and no more taken in than can be
worked off."""
