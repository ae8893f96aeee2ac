"""Where do nodes come from? Adapters of the Provider port."""
