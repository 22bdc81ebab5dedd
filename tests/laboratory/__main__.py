"""``python -m tests.laboratory``: see :mod:`tests.laboratory.record`."""

from tests.laboratory.record import main

if __name__ == "__main__":
    raise SystemExit(main())
