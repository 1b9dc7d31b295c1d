import { release, totalmem } from 'node:os';
import { availableParallelism } from 'node:os';
import { runCommand } from './setup/run-command.ts';
import { runScript, setUp } from './setup/setup.ts';
import { describeCpu, readLoad, type MachineFacts } from './bench/measuring.ts';
import { parseOptions, type BenchOptions } from './bench/options.ts';
import { benchCapture } from './bench/part-capture.ts';
import { benchCatalog } from './bench/part-catalog.ts';
import { benchMemory } from './bench/part-memory.ts';
import { benchPause } from './bench/part-pause.ts';
import { benchRestore } from './bench/part-restore.ts';
import { formatPart, writeReport, type PartResults } from './bench/report.ts';
import { createWorkbench, type Workbench } from './bench/workbench.ts';

const GIB = 1024 ** 3;

async function readFacts(domainType: string): Promise<MachineFacts> {
  const versions = await runCommand('virsh', ['--connect', 'qemu:///system', 'version']);
  return {
    cpu: describeCpu(),
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / GIB),
    kernel: release(),
    node: process.version,
    qemu: /hypervisor: QEMU (\S+)/.exec(versions)?.[1] ?? 'unknown',
    libvirt: /library: libvirt (\S+)/.exec(versions)?.[1] ?? 'unknown',
    guests: domainType === 'kvm' ? 'KVM' : 'emulation (TCG)',
    loadBefore: readLoad(),
  };
}

async function runParts(workbench: Workbench, options: BenchOptions): Promise<PartResults> {
  const results: PartResults = {};
  for (const part of options.parts) {
    process.stderr.write(`bench: ${part}\n`);
    if (part === 'capture') results.capture = await benchCapture(workbench, options);
    else if (part === 'pause') results.pause = await benchPause(workbench, options);
    else if (part === 'memory') results.memory = await benchMemory(workbench, options);
    else if (part === 'restore') results.restore = await benchRestore(workbench, options);
    else results.catalog = await benchCatalog(options);
    process.stdout.write(`\n${formatPart(part, results) ?? ''}\n`);
  }
  return results;
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  const { domainType } = await setUp(['bench']);
  const facts = await readFacts(domainType);
  const workbench = await createWorkbench();
  try {
    const results = await runParts(workbench, options);
    if (options.write) {
      const at = new Date().toISOString().slice(0, 16).replace('T', ' ').concat(' UTC');
      await writeReport(options.parts, results, { facts, at });
    }
    return 0;
  } finally {
    await workbench.close();
  }
}

if (import.meta.main) await runScript(main);
