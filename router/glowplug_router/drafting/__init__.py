"""How does a plan come about, step by step? `plan.plan` says in which order."""
