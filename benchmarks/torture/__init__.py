"""Kills, damages and misleads finetrap again and again, and counts what that costs: `make torture`.

scene.py     a study, its undisturbed files, and attempts at it that may be cut short
kills.py     kills at random moments, at chosen system calls
    commands.py  the command line with its workers stopped in every way, and two at once
damages.py   files that changed after they were written, disks that are full
scarce.py    little room on a disk, for temporary files, in the memory
table.py     one row a fault, and docs/reliability.md from them
"""
