"""What the benchmarks of Markov chains share: untrained machines, ways to run them, their peers.

machines.py   machines of published sizes, exported as trained ones are
ours.py       in a loop, through the scheduler, through the whole service
peers.py      numpy, torch, torch.compile, and the arithmetic alone
static.py     static batching, as servers without continuous batching do it
"""
