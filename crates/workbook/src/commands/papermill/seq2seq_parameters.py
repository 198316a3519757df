"""The parameters of a Rust notebook: reads their declarations and writes new ones.

A notebook declares its parameters in the cell tagged `parameters`, each in a line of its own and with its
type:

    let hidden_size: usize = 12; // the numbers in the state
"""

import re
from typing import NamedTuple

DECLARATION = re.compile(r"let (?P<name>\w+): (?P<type>[^=]+?) = (?P<default>.+?);(?: *// *(?P<help>.*))?$")
INTEGER = re.compile(r"([iu])(8|16|32|64|128|size)")
LARGEST_FLOAT = {"f32": 3.4028235e38, "f64": float("inf")}
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}


class Declaration(NamedTuple):
    type: str
    default: str
    help: str


def declarations(source):
    """The declarations in a cell, by name."""
    matches = filter(None, (DECLARATION.match(line.strip()) for line in source.splitlines()))
    return {match["name"]: Declaration(match["type"], match["default"], match["help"] or "") for match in matches}


def let(name, type, value):
    """The line of Rust that sets a parameter. Raises a ValueError when the value does not fit the type."""
    try:
        return f"let {name}: {type} = {literal(type, value)};"
    except ValueError as reason:
        shown = repr(value) if isinstance(value, str) else plain(value)
        detail = f" ({reason})" if str(reason) else ""
        raise ValueError(f"the parameter {name} has the type {type}, and {shown} does not fit{detail}") from None


def literal(type, value):
    """The value as a Rust literal of the type. The value is text, as on a command line, or of one of the
    types that YAML has."""
    if inner := generic(type, "Option"):
        return "None" if plain(value) in ("none", "None") else f"Some({literal(inner, value)})"
    if inner := generic(type, "Vec"):
        if not isinstance(value, list):
            raise ValueError("not a list")
        return f"vec![{', '.join(literal(inner, item) for item in value)}]"
    if isinstance(value, (list, dict)):
        raise ValueError
    text = plain(value)
    if type in ("&str", "&'static str", "String"):
        quoted = '"' + "".join(ESCAPES.get(character, character) for character in text) + '"'
        return f"{quoted}.to_owned()" if type == "String" else quoted
    if type == "bool":
        if text not in ("true", "false"):
            raise ValueError("true or false")
        return text
    if integer := INTEGER.fullmatch(type):
        if not re.fullmatch(r"[+-]?[0-9][0-9_]*", text):
            raise ValueError("not a whole number")
        number = int(text.rstrip("_"))
        signed = integer[1] == "i"
        bits = (64 if integer[2] == "size" else int(integer[2])) - signed
        least, largest = -(2**bits) * signed, 2**bits - 1
        if not least <= number <= largest:
            raise ValueError(f"allowed: {least} to {largest}")
        return str(number)
    if type in LARGEST_FLOAT:
        try:
            number = float(text)
        except ValueError:
            raise ValueError("not a number") from None
        if not abs(number) <= LARGEST_FLOAT[type] or number in (float("inf"), float("-inf")):
            raise ValueError("not a finite number of this type")
        return repr(number)
    raise ValueError("a type that cannot be set from outside")


def generic(type, name):
    """The type in the angle brackets of `name<...>`, or None for another type."""
    match = re.fullmatch(rf"{name}<(.+)>", type)
    return match and match[1]


def plain(value):
    """A value as somebody would type it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
