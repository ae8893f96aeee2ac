"""Do the router's decisions hold when the world misbehaves? The very same plan and dispatch, in virtual time."""
