"""What every table stands on: the database, its journal, its faults."""
