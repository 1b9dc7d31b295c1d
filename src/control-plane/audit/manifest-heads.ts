import type { KnownHead } from './audit-chain.ts';

/** A manifest's head as something that the trail must hold. */
export const headOfManifest = (manifest: {
  readonly snapshotId: string;
  readonly auditHead: string | null;
  readonly capturedAt: string;
}): KnownHead[] =>
  manifest.auditHead === null
    ? []
    : [
        {
          hash: manifest.auditHead,
          sequence: null,
          at: manifest.capturedAt,
          where: `The manifest of snapshot ${manifest.snapshotId}`,
        },
      ];
