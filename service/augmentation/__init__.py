"""Bulk orders: synthetic data sets, chunk by chunk, each chunk a pure function of the order.

asked ──resolve──► Order ──plan──► chunks ──chunks──► rows ──formats──► bytes ──folder──► files

order.py    what is ordered, frozen; its fingerprint
plan.py     chunk index → slots, labels, seeds
chunks.py   one chunk's rows, by asking a model
folder.py   files and receipts; what is missing; the manifest
backends/   who makes chunks: this process, or a Ray cluster
runner.py   all missing chunks of one order, by a backend; the manifest
shard.py    one share of an order, for an Indexed Job or an array of Slurm
desk.py     the service's orders: placed, run, held, cancelled, forgotten
command.py  `reverie augment`, without a server
"""
