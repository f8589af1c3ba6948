"""Tables: their columns, the networks that make rows of them, and what the rows are worth.

table.py       Parquet or CSV → columns, splits          transform.py  columns → how to write them
networks.py    the two players                           learning.py   adversarial training
figures.py     how like the real rows                    usefulness.py what may be learned from them
export.py      players → package                         card.py       its page
"""
