"""Formal proofs of the accelerator's components (docs/formal.md)."""
