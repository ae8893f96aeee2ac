"""Who takes a release to where it runs? One module for each way."""
