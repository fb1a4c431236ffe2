"""The command line: parse, call one function, print."""

import gc

# A command's own start-up makes tens of thousands of objects that all stay: looking for garbage
# among them again and again takes a twentieth of a short command's time and finds none.
gc.set_threshold(100_000, 20, 50)
