import {
  type Instruction,
  type Operand,
  PtxError,
  type PtxFunction,
  type PtxModule,
  type Register,
  type Variable,
} from './ptx.ts';

/**
 * Replaces every `call` by the callee's body, so that the rest of the simulator sees one flat function. Each copy gets its own
 * registers, labels and variables; the callee's formal parameters become the variables that the caller passes.
 * Throws PtxError for a recursive, indirect or external call.
 */
export function inlineCalls(module: PtxModule, fn: PtxFunction, stack: readonly string[] = []): PtxFunction {
  if (fn.body === undefined) throw new PtxError(fn.line, `${fn.name} has no body`);
  if (!fn.body.some((instruction) => instruction.name === 'call')) return fn;
  const registers = [...fn.registers];
  const variables = [...fn.variables];
  const labels = new Map<string, number>();
  const branchTargets = new Map(fn.branchTargets);
  const body: Instruction[] = [];
  const labelsAt = new Map<number, string[]>();
  for (const [label, index] of fn.labels) labelsAt.set(index, [...(labelsAt.get(index) ?? []), label]);

  for (const [index, instruction] of fn.body.entries()) {
    for (const label of labelsAt.get(index) ?? []) labels.set(label, body.length);
    if (instruction.name === 'call') inlineOne(instruction, index);
    else body.push(instruction);
  }
  for (const label of labelsAt.get(fn.body.length) ?? []) labels.set(label, body.length);
  return { ...fn, body, labels, branchTargets, registers, variables };

  function inlineOne(call: Instruction, index: number): void {
    const target = call.operands.find((operand) => operand.kind === 'function');
    if (target === undefined) throw new PtxError(call.line, 'indirect calls are not supported');
    const definition = module.functions.get(target.name)!;
    if (definition.body === undefined)
      throw new PtxError(call.line, `call of ${target.name}, which the module does not define`);
    if (target.name === fn.name || stack.includes(target.name)) {
      throw new PtxError(call.line, `recursive call of ${target.name} is not supported`);
    }
    const callee = inlineCalls(module, definition, [...stack, fn.name]);
    const prefix = `${callee.name}#${index}#`;
    const at = call.operands.indexOf(target);
    const actuals = (operand: Operand | undefined): Variable[] =>
      operand?.kind !== 'list'
        ? []
        : operand.elements.map((element) => {
            if (element.kind !== 'variable')
              throw new PtxError(call.line, `call of ${callee.name}: arguments must be .param variables`);
            return element.variable;
          });
    const formals = [...callee.returns, ...callee.params];
    const passed = [...actuals(at > 0 ? call.operands[0] : undefined), ...actuals(call.operands[at + 1])];
    if (formals.length !== passed.length) {
      throw new PtxError(
        call.line,
        `call of ${callee.name} passes ${passed.length} parameters, expected ${formals.length}`,
      );
    }
    const variableOf = new Map<Variable, Variable>(formals.map((formal, i) => [formal, passed[i]]));
    for (const variable of callee.variables) {
      // Shared variables are one per block however often the function is called.
      const copy = variable.space === 'shared' ? variable : { ...variable };
      variableOf.set(variable, copy);
      if (!variables.includes(copy)) variables.push(copy);
    }
    const registerOf = callee.registers.map(
      (register): Register => ({ ...register, id: registers.length + register.id }),
    );
    registers.push(...registerOf);
    const rename = (operand: Operand): Operand => {
      switch (operand.kind) {
        case 'register':
          return { kind: 'register', register: registerOf[operand.register.id] };
        case 'variable':
          return { ...operand, variable: variableOf.get(operand.variable) ?? operand.variable };
        case 'label':
          return { kind: 'label', name: prefix + operand.name };
        case 'address':
          return { ...operand, base: operand.base && rename(operand.base) };
        case 'vector':
        case 'list':
          return { kind: operand.kind, elements: operand.elements.map(rename) };
        case 'pair':
          return { kind: 'pair', first: rename(operand.first), second: rename(operand.second) };
        case 'not':
          return { kind: 'not', operand: rename(operand.operand) };
        default:
          return operand;
      }
    };
    const end = `${prefix}end`;
    const branch = (from: Instruction, guard: Instruction['guard']): Instruction => ({
      ...from,
      name: 'bra',
      modifiers: [],
      guard,
      operands: [{ kind: 'label', name: end }],
    });
    if (call.guard !== undefined) body.push(branch(call, { ...call.guard, negated: !call.guard.negated }));
    const start = body.length;
    for (const [label, position] of callee.labels) labels.set(prefix + label, start + position);
    for (const [label, targets] of callee.branchTargets)
      branchTargets.set(
        prefix + label,
        targets.map((name) => prefix + name),
      );
    for (const instruction of callee.body!) {
      const guard = instruction.guard && { ...instruction.guard, register: registerOf[instruction.guard.register.id] };
      if (instruction.name === 'ret') body.push(branch(instruction, guard));
      else body.push({ ...instruction, guard, operands: instruction.operands.map(rename) });
    }
    labels.set(end, body.length);
  }
}
