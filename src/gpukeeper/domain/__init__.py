"""The rules of the program, free of I/O: nouns, price choice, state machine, events, errors."""
