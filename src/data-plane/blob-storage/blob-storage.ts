/**
 * Immutable named blobs. Names are `/`-separated lower-case paths without `..`.
 * Every adapter passes the conformance suite in this folder.
 */
export interface BlobStorage {
  /**
   * Stores the concatenation of `parts`. Resolves when it is durable (file and folder synced);
   * a crash leaves all or nothing. Throws `name_taken` when the name exists, `insufficient_space`
   * when there is no room.
   */
  put(name: string, parts: readonly Uint8Array[], options?: { replace?: boolean }): Promise<void>;
  /** Throws `not_found`. `length` may reach past the end: what is there is returned. */
  get(name: string, range?: { offset: number; lengthBytes: number }): Promise<Uint8Array>;
  /** Null when there is none. */
  stat(name: string): Promise<{ sizeBytes: number; modifiedAt: Date } | null>;
  /** Names below a prefix folder, sorted. */
  list(prefix: string): Promise<{ name: string; sizeBytes: number }[]>;
  /** Idempotent. */
  delete(name: string): Promise<void>;
  /** Removes what puts that were interrupted long ago left behind; resolves to how many. */
  sweep(): Promise<number>;
  /** Free bytes, or null where the storage cannot say. */
  freeBytes(): Promise<number | null>;
}
