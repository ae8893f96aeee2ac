"""Rows of `make bench-policy`: decisions of the planner in virtual time, beside those of others."""
