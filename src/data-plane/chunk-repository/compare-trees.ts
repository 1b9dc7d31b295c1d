import { OperationError } from '../../shared/errors.ts';
import { StoredDataError } from './damage.ts';
import { createTreeNodes, entryAt, type TreeNodes } from './node-reader.ts';
import type { Extent, TreeRef } from './repository.ts';
import type { RepositoryContext } from './repository-context.ts';
import { blocksPerEntry, depthOf, entryCount, shapeOfRef, type TreeShape } from './tree-shape.ts';

/** Walks down only where digests differ. `zero` of a range tells what the later tree holds there. */
export async function compareTrees(
  context: Pick<RepositoryContext, 'layout' | 'readNode'>,
  before: TreeRef,
  after: TreeRef,
): Promise<Extent[]> {
  if (before.kind !== after.kind || before.lengthBytes !== after.lengthBytes) {
    throw new OperationError('invalid_input', 'Only trees of the same kind and length compare.');
  }
  const shape = shapeOfRef(after, context.layout);
  shapeOfRef(before, context.layout);
  if (before.root === after.root) return [];
  const walk: Walk = {
    shape,
    before: createTreeNodes(before, shape, context.readNode),
    after: createTreeNodes(after, shape, context.readNode),
    differing: [],
  };
  try {
    await compareNodes(walk, depthOf(shape), 0);
  } catch (error) {
    if (!(error instanceof StoredDataError)) throw error;
    throw new OperationError(
      'snapshot_damaged',
      `The trees cannot be compared: ${error.message}.`,
      {
        cause: error,
      },
    );
  }
  return walk.differing;
}

interface Walk {
  readonly shape: TreeShape;
  readonly before: TreeNodes;
  readonly after: TreeNodes;
  readonly differing: { offset: number; lengthBytes: number; zero: boolean }[];
}

async function compareNodes(walk: Walk, level: number, index: number): Promise<void> {
  const { shape } = walk;
  const before = await walk.before.entries(level, index);
  const after = await walk.after.entries(level, index);
  const first = index * (shape.entriesMax[level] ?? 1);
  for (let entry = 0; entry < entryCount(shape, level, index); entry += 1) {
    const old = before === null ? null : entryAt(before, entry);
    const now = after === null ? null : entryAt(after, entry);
    if (old === now || (old !== null && now !== null && Buffer.compare(old, now) === 0)) continue;
    if (level > 0) await compareNodes(walk, level - 1, first + entry);
    else addBlock(walk, first + entry, now === null);
  }
}

function addBlock({ shape, differing }: Walk, block: number, zero: boolean): void {
  const offset = block * shape.blockSizeBytes * blocksPerEntry(shape, 0);
  const lengthBytes = Math.min(shape.blockSizeBytes, shape.lengthBytes - offset);
  const last = differing.at(-1);
  if (last && last.zero === zero && last.offset + last.lengthBytes === offset) {
    last.lengthBytes += lengthBytes;
  } else differing.push({ offset, lengthBytes, zero });
}
