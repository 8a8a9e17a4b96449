"""Strings in, strings and values out: prompts, scoring, numbers, rows, overlap, safe display."""
