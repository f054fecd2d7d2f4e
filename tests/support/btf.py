"""Reads BTF, the kernel's type format (Documentation/bpf/btf.rst): what a comparison needs."""

import struct
from dataclasses import dataclass

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = range(1, 9)
VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT = range(9, 17)
DECL_TAG, TYPE_TAG, ENUM64 = range(17, 20)
_EXTRA = {INT: (4, 0), ARRAY: (12, 0), STRUCT: (0, 12), UNION: (0, 12), ENUM: (0, 8)}
_EXTRA |= {FUNC_PROTO: (0, 8), VAR: (4, 0), DATASEC: (0, 12), DECL_TAG: (4, 0), ENUM64: (0, 12)}
"""Bytes behind a type's header, by kind: fixed, and for each of its members."""


@dataclass
class Type:
    """One type: its header, and the raw bytes behind it."""

    name: str
    kind: int
    count: int
    bitfield: bool
    size: int  # or the type it refers to
    extra: bytes


@dataclass
class Layout:
    """A struct: its size, and (name, offset, size) of each member, in bytes."""

    size: int
    members: list


def section(elf, name):
    """Return the bytes of a section of a 64-bit little-endian ELF file."""
    assert elf[:6] == b"\x7fELF\x02\x01"
    [start] = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    rows = [struct.unpack_from("<IIQQQQ", elf, start + size * row) for row in range(count)]
    for row in rows:
        at = rows[names][4] + row[0]
        if elf[at : elf.index(b"\0", at)] == name.encode():
            return elf[row[4] : row[4] + row[5]]
    raise AssertionError(f"no section {name}")


class Btf:
    """All types of one piece of BTF."""

    def __init__(self, data):
        magic, _, _, header, types, types_len, strings, _ = struct.unpack_from("<HBBIIIII", data)
        assert magic == 0xEB9F
        self._strings = data[header + strings :]
        self.types = [Type("void", 0, 0, False, 0, b"")]
        at, end = header + types, header + types + types_len
        while at < end:
            name, info, size = struct.unpack_from("<III", data, at)
            kind, count = info >> 24 & 31, info & 0xFFFF
            fixed, each = _EXTRA.get(kind, (0, 0))
            length = fixed + each * count
            extra = data[at + 12 : at + 12 + length]
            self.types.append(Type(self._text(name), kind, count, bool(info >> 31), size, extra))
            at += 12 + length

    def _text(self, at):
        return self._strings[at : self._strings.index(b"\0", at)].decode()

    def _named(self, kind, name):
        found = [one for one in self.types if one.kind == kind and one.name == name]
        assert found, f"{name} is not in the BTF: nothing in the object refers to it"
        return found[0]

    def _size(self, number):
        one = self.types[number]
        if one.kind in (INT, STRUCT, UNION, ENUM, ENUM64, FLOAT):
            return one.size
        if one.kind == PTR:
            return 8
        if one.kind == ARRAY:
            element, _, count = struct.unpack("<III", one.extra)
            return self._size(element) * count
        return self._size(one.size)

    def struct(self, name):
        """Return the layout of a struct without bit fields."""
        one = self._named(STRUCT, name)
        members = []
        for member, number, offset in struct.iter_unpack("<III", one.extra):
            bits = offset & 0xFFFFFF if one.bitfield else offset
            members.append((self._text(member), bits // 8, self._size(number)))
        return Layout(one.size, members)

    def flattened(self, name):
        """Return the same with the members of nested structs in place of these."""
        return Layout(self.struct(name).size, list(self._flat(self._named(STRUCT, name), 0)))

    def _flat(self, one, base):
        for member, number, bits in struct.iter_unpack("<III", one.extra):
            inner, offset = self.types[number], base + bits // 8
            if inner.kind == STRUCT:
                yield from self._flat(inner, offset)
            else:
                yield self._text(member), offset, self._size(number)

    def enum(self, name):
        """Return the values of an enum."""
        extra = self._named(ENUM, name).extra
        return {self._text(text): value for text, value in struct.iter_unpack("<Ii", extra)}

    def variables(self, name):
        """Return the variables of a data section, in the order of their declaration."""
        extra = self._named(DATASEC, name).extra
        return [self.types[number].name for number, _, _ in struct.iter_unpack("<III", extra)]
