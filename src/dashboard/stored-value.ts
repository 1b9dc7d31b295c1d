export interface StoredValue<Value> {
  readonly get: () => Value;
  readonly set: (value: Value) => void;
  readonly subscribe: (listener: () => void) => () => void;
}

/** A value that outlives a reload and that components can follow. */
export function createStoredValue<Value>(options: {
  storage: () => Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
  key: string;
  parse: (text: string | null) => Value;
  format: (value: Value) => string | null;
}): StoredValue<Value> {
  const { key, parse, format } = options;
  const listeners = new Set<() => void>();
  let value = parse(attempt(() => options.storage().getItem(key)) ?? null);
  return {
    get: () => value,
    set: (next) => {
      value = next;
      const text = format(next);
      attempt(() =>
        text === null ? options.storage().removeItem(key) : options.storage().setItem(key, text),
      );
      for (const listener of listeners) listener();
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function attempt<Value>(act: () => Value): Value | undefined {
  try {
    return act();
  } catch {
    // Browsers may forbid storage altogether; the value then lasts as long as the page.
    return undefined;
  }
}
