/** Whether a thrown value is a Node system error with this code, e.g. `ENOENT`. */
export const hasErrorCode = (thrown: unknown, code: string): boolean =>
  thrown instanceof Error && 'code' in thrown && thrown.code === code;
