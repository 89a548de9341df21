"""Egret for its users: command line, training, bitstreams and reports."""

__version__ = "0.1.0"
