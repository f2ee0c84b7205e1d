"""Examining a deployment from end to end: what is wrong with it, what that means, and what to do."""
