/** The stream without its pages, as it is written. */
export interface RemainderOutput {
  readonly emit: (bytes: Uint8Array) => void;
  /** A section header that is written only once the section has content worth keeping. */
  hold(header: Uint8Array): void;
  /** Writes content of the section under way, after its header. */
  readonly emitInSection: (bytes: Uint8Array) => void;
  /** Forgets the header of a section without content; says whether there was one. */
  dropHeld(): boolean;
  /** Writes a held header and `bytes` as they came. */
  emitVerbatim(bytes: Uint8Array): void;
  hasDropped(): boolean;
  totalBytes(): number;
}

export function createRemainderOutput(handlers: {
  onRemainder(bytes: Uint8Array): void;
}): RemainderOutput {
  let held: Uint8Array | null = null;
  let totalBytes = 0;
  let dropped = false;

  function emit(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    totalBytes += bytes.length;
    handlers.onRemainder(bytes);
  }

  function emitInSection(bytes: Uint8Array): void {
    if (held !== null) emit(held);
    held = null;
    emit(bytes);
  }

  return {
    emit,
    hold(header) {
      held = header;
    },
    emitInSection,
    dropHeld() {
      if (held === null) return false;
      held = null;
      dropped = true;
      return true;
    },
    emitVerbatim: emitInSection,
    hasDropped: () => dropped,
    totalBytes: () => totalBytes,
  };
}
