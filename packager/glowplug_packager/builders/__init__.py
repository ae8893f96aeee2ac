"""Who makes a bundle? One module for each way."""
