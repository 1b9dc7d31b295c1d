import {
  listManifestHeads,
  reportManifestHead,
  type ManifestHeadRow,
} from '../control-plane/database/manifest-heads.ts';
import { describeThrown } from '../shared/errors.ts';
import type { WorkerEnvironment } from './environment.ts';

/**
 * Copies the audit heads of the bundles' manifests into the catalog, where the server compares them
 * with the trail. `all` reads known ones again, so that a catalog that was changed is put right.
 */
export async function reportManifestHeads(
  environment: WorkerEnvironment,
  { all }: { all: boolean },
): Promise<void> {
  const { catalog, repository, logger } = environment;
  const known = all ? [] : (await listManifestHeads(catalog.read)).map((row) => row.snapshotId);
  const knownIds = new Set(known);
  for (const snapshotId of await repository.listManifestIds()) {
    if (knownIds.has(snapshotId)) continue;
    let row: ManifestHeadRow;
    try {
      const { auditHead, capturedAt } = await repository.readManifest(snapshotId);
      row = { snapshotId, auditHead, capturedAt };
    } catch (error) {
      // It may have been deleted meanwhile; that it is damaged is what `snapshot verify` is for.
      logger.warn({ snapshotId, reason: describeThrown(error) }, 'a manifest could not be read');
      continue;
    }
    await catalog.write((tx) => reportManifestHead(tx, row));
  }
}
