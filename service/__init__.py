"""Reverie's service: loads model packages and answers sample, interpolate, inpaint and score.

contract → registry → engine → api: read `app.py` for how the parts meet.
"""

__version__ = "0.1.0"
