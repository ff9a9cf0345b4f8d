"""Units of measurement: each is a quantity's base unit times a factor plus an offset."""

from __future__ import annotations

UNITS: dict[str, tuple[str, float, float]] = {
    "K": ("temperature", 1.0, 0.0), "degC": ("temperature", 1.0, 273.15),
    "degF": ("temperature", 5 / 9, 459.67 * 5 / 9),
    "m": ("length", 1.0, 0.0), "km": ("length", 1e3, 0.0), "cm": ("length", 1e-2, 0.0), "mm": ("length", 1e-3, 0.0),
    "um": ("length", 1e-6, 0.0), "inch": ("length", 0.0254, 0.0), "ft": ("length", 0.3048, 0.0),
    "yd": ("length", 0.9144, 0.0), "mi": ("length", 1609.344, 0.0), "nmi": ("length", 1852.0, 0.0),
    "kg": ("mass", 1.0, 0.0), "g": ("mass", 1e-3, 0.0), "mg": ("mass", 1e-6, 0.0), "ug": ("mass", 1e-9, 0.0),
    "t": ("mass", 1e3, 0.0), "lb": ("mass", 0.45359237, 0.0), "oz": ("mass", 0.028349523125, 0.0),
    "s": ("time", 1.0, 0.0), "ms": ("time", 1e-3, 0.0), "us": ("time", 1e-6, 0.0), "min": ("time", 60.0, 0.0),
    "h": ("time", 3600.0, 0.0), "d": ("time", 86400.0, 0.0),
    "m/s": ("speed", 1.0, 0.0), "km/h": ("speed", 1 / 3.6, 0.0), "mph": ("speed", 0.44704, 0.0),
    "kn": ("speed", 1852 / 3600, 0.0),
    "Pa": ("pressure", 1.0, 0.0), "hPa": ("pressure", 100.0, 0.0), "kPa": ("pressure", 1e3, 0.0),
    "bar": ("pressure", 1e5, 0.0), "mmHg": ("pressure", 133.322387415, 0.0), "psi": ("pressure", 6894.757293168, 0.0),
    "J": ("energy", 1.0, 0.0), "kJ": ("energy", 1e3, 0.0), "kWh": ("energy", 3.6e6, 0.0),
    "kcal": ("energy", 4184.0, 0.0),
    "W": ("power", 1.0, 0.0), "kW": ("power", 1e3, 0.0), "hp": ("power", 745.69987158227022, 0.0),
    "l": ("volume", 1e-3, 0.0), "ml": ("volume", 1e-6, 0.0), "m3": ("volume", 1.0, 0.0),
    "gal": ("volume", 3.785411784e-3, 0.0),
    "B": ("data", 1.0, 0.0), "kB": ("data", 1e3, 0.0), "MB": ("data", 1e6, 0.0), "GB": ("data", 1e9, 0.0),
    "KiB": ("data", 1024.0, 0.0), "MiB": ("data", 1024.0**2, 0.0), "GiB": ("data", 1024.0**3, 0.0),
    "rad": ("angle", 1.0, 0.0), "deg": ("angle", 0.017453292519943295, 0.0),
    "1": ("share", 1.0, 0.0), "%": ("share", 0.01, 0.0),
}  # fmt: skip
"""Quantity, factor and offset of each unit: base = value * factor + offset."""


def factor(source: str, to: str) -> tuple[float, float]:
    """Return ``a, b`` of ``value in to = a * value in source + b``; raises ValueError."""
    for unit in (source, to):
        if unit not in UNITS:
            raise ValueError(f"unit {unit!r} is not known: use one of {', '.join(UNITS)}")
    (kind, a, b), (other, c, d) = UNITS[source], UNITS[to]
    if kind != other:
        raise ValueError(f"{source} is of {kind}, {to} of {other}: give two units of one quantity")
    return a / c, (b - d) / c
