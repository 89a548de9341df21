"""Campaigns of single-bit upsets: one flip in one run, and what became of it."""
