"""The servers that Reverie is compared with: one short file each, and the table that starts them.

Each `*_app.py` runs in an environment of its own and answers the same request with the same work:
{"n", "seed", "format"} ──► z from the seed ──► ONNX Runtime ──► npy bytes or JSON
"""
