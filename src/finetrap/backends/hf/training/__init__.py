"""What is trained, how rows are cut into passes, and one optimizer step after another."""
