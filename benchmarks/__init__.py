"""One question a file, one table an answer: `make bench`."""
