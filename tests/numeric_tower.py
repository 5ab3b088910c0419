"""beartype as PEP 484 has numbers: an int is a float, and a float a complex number."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
