"""Gives finetrap inputs that a fuzzer draws, guided by the code they reach: `make fuzz`.

Bytes go in; a value, or an error that is meant for a person, comes out, within a time and a memory.
Whatever else happens is kept once for each kind: its traceback and the smallest input.

targets.py    what reads bytes: studies, rows, completions, other tools' logs
folders.py    runs folders
models.py     a model's and an adapter's files
seeds.py      small inputs of each kind to begin with, made from what the repository has
mutations.py  other inputs from them, by what JSON and TOML are
watched.py    one input under the limits, and what is kept of those that fail
guided.py     atheris draws inputs for one target, in a process of its own
"""
