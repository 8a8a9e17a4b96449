"""Answering and scoring: greedy decoding, likelihoods of texts, choices after one context."""
