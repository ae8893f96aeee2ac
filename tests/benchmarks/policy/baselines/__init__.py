"""Policies of others behind our interfaces, written from their documentation."""
