import { OperationError } from '../shared/errors.ts';

export interface SseMessage {
  readonly id: string | null;
  readonly event: string;
  readonly data: string;
}

const BUFFER_CHARACTERS_MAX = 256 * 1024;

/** Takes text as it comes off the wire (WHATWG HTML section 9.2.6). */
export function createSseParser(): {
  push(text: string): SseMessage[];
  /** What the server last asked for with `retry:`. */
  retryMs(): number | null;
} {
  let buffer = '';
  let id: string | null = null;
  let event = '';
  let data: string[] = [];
  let dataCharacters = 0;
  let retryMs: number | null = null;

  const takeLine = (line: string): SseMessage | null => {
    if (line === '') {
      const message =
        data.length > 0 ? { id, event: event || 'message', data: data.join('\n') } : null;
      event = '';
      data = [];
      dataCharacters = 0;
      return message;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return null;
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') {
      dataCharacters += value.length;
      assertLimit(dataCharacters);
      data.push(value);
    } else if (field === 'event') event = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
    else if (field === 'retry' && /^\d{1,6}$/.test(value)) retryMs = Number(value);
    return null;
  };

  return {
    retryMs: () => retryMs,
    push: (text) => {
      buffer += text;
      const messages: SseMessage[] = [];
      for (;;) {
        const match = /\r\n|\n|\r(?!$)/.exec(buffer);
        if (!match) break;
        const message = takeLine(buffer.slice(0, match.index));
        buffer = buffer.slice(match.index + match[0].length);
        if (message) messages.push(message);
      }
      assertLimit(buffer.length);
      return messages;
    },
  };
}

function assertLimit(characters: number): void {
  if (characters > BUFFER_CHARACTERS_MAX)
    throw new OperationError('protocol_error', 'The server sent an event without end.');
}
