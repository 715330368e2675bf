"""Programs at work on what comes without being asked over HTTP: tables, and what is written elsewhere."""
