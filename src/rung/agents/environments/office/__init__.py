"""An office: a calendar, a mailbox, and requests about them."""
