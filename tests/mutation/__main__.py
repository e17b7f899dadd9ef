"""`python -m tests.mutation softmax linear --count 100`: mutants of operations, and what became of them."""

import argparse
import random
from collections import Counter

from derive import catalog
from derive.commands import source
from tests.mutation import cuda
from tests.mutation.gate import KILLED, SAME, SURVIVED, Fate, Gate, RuleGate, table, workshop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("op", nargs="*", help="the whole catalogue if none is named")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--count", type=int, default=0, help="mutants of each operation; all if 0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rules", action="store_true", help="of the NumPy rules, not of the kernels")
    parser.add_argument("--all", action="store_true", help="show the killed ones too")
    given = parser.parse_args()
    fates: list[Fate] = []
    ends: Counter[str] = Counter()
    with workshop():
        for name in given.op or catalog.names():
            found = source.find(name)
            if given.rules:
                rules = RuleGate(found.op, found.data or {})
                faults = rules.mutants()
                random.Random(given.seed).shuffle(faults)
                for which, fault in faults[: given.count or len(faults)]:
                    how = rules.fate(which, fault)
                    ends[how] += 1
                    if given.all or how in (SAME, SURVIVED):
                        print(f"{name}: {how:16} {fault}", flush=True)
                continue
            gate = Gate(found.op, found.data or {}, given.dtype)
            mutants = gate.mutants()
            for m in cuda.sample(mutants, given.count or len(mutants), given.seed):
                fates.append(gate.fate(m))
                if given.all or fates[-1].how not in KILLED:
                    print(f"{name}: {fates[-1]}", flush=True)
    print(dict(ends) if given.rules else table(fates))


main()
