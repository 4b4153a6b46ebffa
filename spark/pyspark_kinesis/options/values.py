"""Single values of options: what Spark gives as strings, checked."""

from pyspark_kinesis.errors import OptionError


def boolean_of(name: str, value: str | None, default: bool) -> bool:
    """True or false, or the default where there is no value.

    Raises:
        OptionError: the value is any other string.
    """
    if value is None:
        return default
    if value.lower() not in ("true", "false"):
        raise OptionError(f"{name} must be true or false, not {value!r}")
    return value.lower() == "true"


def count_of(name: str, value: str | None, default: int | None) -> int | None:
    """A whole number above 0, or the default where there is no value.

    Raises:
        OptionError: the value is any other string.
    """
    if value is None:
        return default
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise OptionError(f"{name} must be a whole number above 0, not {value!r}")
    return number


def seconds_of(name: str, value: str | None, default: float, *, zero: bool = False) -> float:
    """A number of seconds above 0, or 0 where ``zero`` allows it, or the default where there is no value.

    Raises:
        OptionError: the value is any other string.
    """
    if value is None:
        return default
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not (0 < number < 1e9 or (zero and number == 0)):
        raise OptionError(f"{name} must be a number above 0{' or 0' if zero else ''}, not {value!r}")
    return number
