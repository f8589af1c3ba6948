"""The mathematics of serving, in numpy alone: no I/O, no asyncio, no frameworks."""
