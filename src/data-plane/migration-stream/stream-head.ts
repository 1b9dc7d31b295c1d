import { type ByteFeed, type Starved, take, takeMore } from './byte-feed.ts';
import { NotUnderstood } from './not-understood.ts';
import { PAGE_BYTES, readUint32, SECTION, STREAM_MAGIC, STREAM_VERSION } from './stream-format.ts';

const NAME_LIMIT_BYTES = 256;

/** Capabilities that change the layout of what follows; QEMU names only those it wants compared. */
const LAYOUT_CAPABILITIES: readonly string[] = ['x-ignore-shared', 'mapped-ram'];

/** Magic, version and the configuration section up to its subsections; returns the machine type. */
export function* parseHead(
  feed: ByteFeed,
  emit: (bytes: Uint8Array) => void,
): Generator<Starved, string, void> {
  const magic = yield* take(feed, 8);
  if (readUint32(magic, 0) !== STREAM_MAGIC) throw new NotUnderstood('no QEMU migration stream');
  if (readUint32(magic, 4) !== STREAM_VERSION) {
    throw new NotUnderstood(`stream version ${readUint32(magic, 4)}`);
  }
  emit(magic);
  const head = yield* take(feed, 5);
  if (head[0] !== SECTION.configuration) throw new NotUnderstood('no configuration section');
  const nameBytes = readUint32(head, 1);
  if (nameBytes > NAME_LIMIT_BYTES) throw new NotUnderstood('a machine name of that length');
  const configuration = yield* takeMore(feed, nameBytes);
  emit(configuration);
  return Buffer.from(configuration.subarray(5)).toString('latin1');
}

/** One subsection of the configuration, whose type byte is the feed's current item. */
export function* parseConfigurationSubsection(
  feed: ByteFeed,
  emit: (bytes: Uint8Array) => void,
): Generator<Starved, void, void> {
  const nameBytes = (yield* takeMore(feed, 1))[1] ?? 0;
  const head = yield* takeMore(feed, nameBytes + 4);
  const name = Buffer.from(head.subarray(2, 2 + nameBytes)).toString('latin1');
  switch (name) {
    case 'configuration/target-page-bits': {
      const bits = readUint32(yield* takeMore(feed, 4), head.length);
      if (2 ** bits !== PAGE_BYTES) throw new NotUnderstood(`pages of 2^${bits} bytes`);
      break;
    }
    case 'configuration/uuid':
      yield* takeMore(feed, 16);
      break;
    case 'configuration/capabilities':
      yield* parseCapabilities(feed, head.length);
      break;
    default:
      throw new NotUnderstood(`the configuration ${JSON.stringify(name)}`);
  }
  emit(feed.item());
}

function* parseCapabilities(feed: ByteFeed, at: number): Generator<Starved, void, void> {
  const count = readUint32(yield* takeMore(feed, 4), at);
  if (count > 16) throw new NotUnderstood(`${count} capabilities`);
  let end = at + 4;
  for (let index = 0; index < count; index += 1) {
    const nameBytes = (yield* takeMore(feed, 1))[end] ?? 0;
    const bytes = yield* takeMore(feed, nameBytes);
    const name = Buffer.from(bytes.subarray(end + 1, end + 1 + nameBytes)).toString('latin1');
    if (LAYOUT_CAPABILITIES.includes(name)) throw new NotUnderstood(`the capability ${name}`);
    end += 1 + nameBytes;
  }
}
