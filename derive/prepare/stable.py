from derive.program import Program


def stabilise(program: Program) -> Program:
    return program
