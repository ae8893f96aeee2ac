"""What does the router know, decide and remember? Frozen records: data without behaviour."""
