"""`python -m finetrap.cli`."""

from finetrap.cli import main

main()
