"""Count what lies at the top level of tracer/, its layers and its dependencies: `make layers`.

A unit is a module or package directly below `tracer`. A dependency is a pair of units of
which one imports the other. A unit's layer is 1 when it imports no other unit, otherwise
one above the highest unit that it imports; units that import each other share one.
"""

import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import grimp

folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1])
sys.path.insert(0, str(folder))
graph = grimp.build_graph("tracer", cache_dir=None)
modules = sorted(graph.modules - {"tracer"})
packages = {name for name in modules if graph.find_children(name)}
packages |= {name for name in modules if (folder / name.replace(".", "/")).is_dir()}


def unit(module):
    return module.split(".")[1]


below = defaultdict(set)
for module in modules:
    for imported in graph.find_modules_directly_imported_by(module):
        if imported != "tracer" and unit(imported) != unit(module):
            below[unit(module)].add(unit(imported))
units = sorted({unit(module) for module in modules})


@cache
def reach(one):
    """Return every unit that this one imports, also through others."""
    found, todo = set(), [one]
    while todo:
        for other in below[todo.pop()] - found:
            found.add(other)
            todo.append(other)
    return frozenset(found)


def together(one):
    return {one} | {other for other in reach(one) if one in reach(other)}


@cache
def layer(one):
    mine = together(one)
    lower = {other for member in mine for other in below[member]} - mine
    return 1 + max((layer(other) for other in lower), default=0)


cycles = {frozenset(together(one)) for one in units if len(together(one)) > 1}
flat = [one for one in units if f"tracer.{one}" not in packages]
print(f"modules          {len(modules) - len(packages)}, of these {len(flat)} at the top level")
print(f"units            {len(units)}")
print(f"layers           {max(map(layer, units))}")
print(f"dependencies     {sum(map(len, below.values()))}")
print(f"cycles           {[sorted(cycle) for cycle in cycles] or 'none'}")
for number in range(max(map(layer, units)), 0, -1):
    print(f"  layer {number:2}       {' '.join(one for one in units if layer(one) == number)}")
