"""Faults planted in the generated design, to see which of them the bench catches."""
