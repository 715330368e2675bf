"""What people say and do about answers, and what may be learnt from it."""
