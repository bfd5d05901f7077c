"""The commands, a group a file: each a frozen dataclass whose fields are its arguments and whose `run` does the work.

Heavy imports wait inside `run`, so that `jaxclip --help` answers at once.
"""
