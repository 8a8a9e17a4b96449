"""Tests of finetrap, in the folders of what they test; what they share is built in `builders`."""
