"""One file an operation: what it means in terms of a model's functions.

engine.run(query) ──► operations.<name>(context, query) ──► maps and chains ──► result
"""
