"""What survives a restart? Adapters of the Store port."""
