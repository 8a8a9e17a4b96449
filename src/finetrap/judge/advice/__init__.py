"""Verdicts and costs → what to ship, with the reasons and what would settle an open choice."""
