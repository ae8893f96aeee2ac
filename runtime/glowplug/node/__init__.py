"""What keeps a machine's replicas as told? The agent; it needs nothing of the router's code."""
