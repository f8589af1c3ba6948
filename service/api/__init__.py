"""The service over HTTP: bytes in, bytes out, and nothing of what an operation means.

middleware ──► routes ──► answers: decoding ──► schemas ──► engine ──► representations ──► encoding

Start with `answers.py`, the way of one request; `handlers.py` is the one table of errors.
"""
