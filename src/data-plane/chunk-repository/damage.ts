/** Stored bytes are not what they must be; callers turn it into an OperationError that names the part. */
export class StoredDataError extends Error {
  constructor(reason: string, options?: { cause?: unknown }) {
    super(reason, options);
    this.name = 'StoredDataError';
  }
}
