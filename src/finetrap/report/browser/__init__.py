"""The page's browser of single answers: what it embeds, and the script that shows it."""
