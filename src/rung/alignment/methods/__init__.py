"""How a policy is improved: one method a file, each a frozen record with a credit and a loss."""
