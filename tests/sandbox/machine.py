"""What the machine of the tests can do."""

import pytest

from tenfold.errors import TenfoldError
from tenfold.sandbox import require_layers


def _why_not() -> str:
    try:
        require_layers()
    except TenfoldError as error:
        return str(error)
    return ""


WHY_NOT = _why_not()
needs_jails = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
