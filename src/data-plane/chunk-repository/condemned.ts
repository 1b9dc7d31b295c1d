import { z } from 'zod';
import { OperationError } from '../../shared/errors.ts';
import type { BlobStorage } from '../blob-storage/blob-storage.ts';
import { canonicalJson, parseJson } from './canonical-json.ts';
import { StoredDataError } from './damage.ts';

const CONDEMNED_NAME = 'gc/condemned';

const condemnedSchema = z.strictObject({
  format: z.literal('komadori-condemned'),
  /** Packs that new writers must not refer to. */
  packs: z.array(z.string().regex(/^[0-9a-f]{32}$/)),
  /** Leases that were alive after the list became durable; null while that is not known yet. */
  leases: z.array(z.uuid()).nullable(),
});

export interface Condemned {
  readonly packs: readonly string[];
  readonly leases: readonly string[] | null;
}

/** Throws StoredDataError when the list cannot be read: nobody then knows which packs are condemned. */
export async function readCondemned(storage: BlobStorage): Promise<Condemned> {
  let stored: Uint8Array;
  try {
    stored = await storage.get(CONDEMNED_NAME);
  } catch (error) {
    if (error instanceof OperationError && error.code === 'not_found')
      return { packs: [], leases: [] };
    throw error;
  }
  const parsed = condemnedSchema.safeParse(parseJson(stored));
  if (!parsed.success) throw new StoredDataError('the list of condemned packs is damaged');
  return { packs: parsed.data.packs, leases: parsed.data.leases };
}

export async function writeCondemned(storage: BlobStorage, condemned: Condemned): Promise<void> {
  if (condemned.packs.length === 0) {
    await storage.delete(CONDEMNED_NAME);
    return;
  }
  const record = { format: 'komadori-condemned', ...condemned };
  await storage.put(CONDEMNED_NAME, [Buffer.from(canonicalJson(record))], { replace: true });
}
