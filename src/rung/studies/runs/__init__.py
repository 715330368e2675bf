"""Studies of a run that was climbed: where it errs, what shakes it, what people prefer."""
