"""Faster single operations, equal to transformers' own to rounding; each can be deleted alone."""
