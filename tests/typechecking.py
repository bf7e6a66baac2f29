"""The checker of annotations in tests: beartype, which lets an int stand for a float, as Python's typing does."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
