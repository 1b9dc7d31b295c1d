import type { AuditVerification } from '../contract/audit-events.ts';

export interface OfflineAuditSource {
  /** A catalog, or a copy of one. */
  readonly database?: string | undefined;
  /** JSON lines. */
  readonly export?: string | undefined;
  /** Folder of a repository whose manifests carry heads. */
  readonly repository?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly passphraseFile?: string | undefined;
  /** A head that was written down: `number:hash`. */
  readonly head?: string | undefined;
}

/** Checks a trail without a server; `main` brings it, since the CLI reads no databases itself. */
export type VerifyAuditOffline = (
  source: OfflineAuditSource,
  signal: AbortSignal,
) => Promise<AuditVerification>;
