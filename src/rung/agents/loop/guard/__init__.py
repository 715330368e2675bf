"""What stands between a decision and its calls: rules, where targets come from, and a person's word."""
