"""Where remaining cells run. An engine is a module with one function:

    run(cells, store, *, keep, workers, emit, stopping)

It brings every cell to a committed run or says by an event why not, and may be stopped at any
moment: whatever is not committed remains. `ready` lends the same for one round after another.
"""
