"""From feedback to policy: rewards, methods that follow them, and audits of what came of it."""
