"""What does the router decide, one question a module? Pure: records in, records out."""
