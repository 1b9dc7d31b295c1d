import { parseArgs } from 'node:util';
import { SetupError } from '../setup/run-command.ts';

export const PARTS = ['capture', 'pause', 'memory', 'restore', 'catalog'] as const;
export type Part = (typeof PARTS)[number];

export interface BenchOptions {
  readonly parts: readonly Part[];
  readonly runs: number;
  /** Small sizes and one run: shows that everything works, and nothing about speed. */
  readonly quick: boolean;
  /** Puts the results into docs/benchmarks.md; they are printed in any case. */
  readonly write: boolean;
  /** Names of contenders; empty for all. */
  readonly only: readonly string[];
}

export const USAGE = `usage: npm run bench -- [${PARTS.join('|')} …] [--runs N] [--quick] [--no-write] [--only NAME]
Measures the parts that are named, or all of them, and writes docs/benchmarks.md and docs/benchmarks.json.
  --runs N     runs of each contender (default 3)
  --quick      small sizes, one run, nothing written
  --no-write   only print
  --only NAME  in part capture, only contenders whose name contains NAME; may be repeated`;

export function parseOptions(args: readonly string[]): BenchOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    allowNegative: true,
    options: {
      runs: { type: 'string' },
      quick: { type: 'boolean', default: false },
      write: { type: 'boolean', default: true },
      only: { type: 'string', multiple: true, default: [] },
    },
  });
  const parts = positionals.map((name) => {
    const part = PARTS.find((candidate) => candidate === name);
    if (part === undefined) throw new SetupError(USAGE);
    return part;
  });
  const runs = Number(values.runs ?? (values.quick ? 1 : 3));
  if (!Number.isInteger(runs) || runs < 1 || runs > 100) throw new SetupError(USAGE);
  return {
    parts: parts.length === 0 ? PARTS : parts,
    runs,
    quick: values.quick,
    write: values.write && !values.quick,
    only: values.only,
  };
}
