import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import type { Logger } from '../../../shared/logger.ts';
import { HOLD_KINDS, type GuardedCapture, type MarkedCapture } from '../freeze-guard.ts';
import { CAPTURE_ROOT } from './capture-folder.ts';
import { hasErrorCode } from './file-errors.ts';

const MARK_BYTES_MAX = 4096;
const MARKS_MAX = 10_000;
const MARK_SUFFIX = '.hold';
/** In /proc/PID/stat, counted from behind the command's closing bracket (proc_pid_stat(5)). */
const START_TIME_FIELD = 19;

const markSchema = z.strictObject({
  captureId: z.string().min(1).max(128),
  vmId: z.guid(),
  wasRunning: z.boolean(),
  holds: z.enum(HOLD_KINDS),
  guardId: z.string().max(4096),
  owner: z.strictObject({ pid: z.int().positive(), startedTicks: z.string().max(32) }),
});
type Mark = z.infer<typeof markSchema>;

// Beside the captures' folders, not inside: QEMU's user may write there.
const markPath = (root: string, captureId: string): string =>
  path.join(root, `${path.basename(captureId)}${MARK_SUFFIX}`);

/** Two processes that had the same number at different times started at different times. */
async function readStartedTicks(pid: number): Promise<string | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    // A zombie does nothing any more, whoever has yet to notice.
    return fields[0] === 'Z' ? null : (fields[START_TIME_FIELD] ?? null);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT') || hasErrorCode(error, 'ESRCH')) return null;
    throw error;
  }
}

/**
 * The mark of a capture says what it may keep from its guest. It is the truth for whoever comes
 * after a dead process: what has no mark holds nothing. It need not survive the host's own crash,
 * which no guest survives either.
 */
export interface CaptureMarks {
  write(capture: GuardedCapture, guardId: string): Promise<void>;
  read(captureId: string): Promise<MarkedCapture | null>;
  list(guardId: string): Promise<MarkedCapture[]>;
  remove(captureId: string): Promise<void>;
}

export function createCaptureMarks(logger: Logger, root = CAPTURE_ROOT): CaptureMarks {
  const parse = async (file: string): Promise<Mark | null> => {
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (error) {
      if (hasErrorCode(error, 'ENOENT')) return null;
      throw error;
    }
    const parsed = text.length <= MARK_BYTES_MAX ? markSchema.safeParse(parseJson(text)) : null;
    if (parsed?.success) return parsed.data;
    logger.warn({ file }, 'the mark of a capture cannot be understood and is ignored');
    return null;
  };
  const describe = async (mark: Mark): Promise<MarkedCapture> => {
    const { guardId: _guardId, owner, ...capture } = mark;
    return {
      ...capture,
      ownerAlive: (await readStartedTicks(owner.pid)) === owner.startedTicks,
    };
  };
  return {
    async write(capture, guardId) {
      await mkdir(root, { recursive: true, mode: 0o755 });
      const owner = {
        pid: process.pid,
        startedTicks: (await readStartedTicks(process.pid)) ?? '',
      };
      const { captureId, vmId, wasRunning, holds } = capture;
      const mark: Mark = { captureId, vmId, wasRunning, holds, guardId, owner };
      const file = markPath(root, captureId);
      await writeFile(`${file}.new`, JSON.stringify(mark), { mode: 0o600 });
      await rename(`${file}.new`, file);
    },
    async read(captureId) {
      const mark = await parse(markPath(root, captureId));
      return mark && (await describe(mark));
    },
    async list(guardId) {
      const names = await listNames(root);
      const marks: MarkedCapture[] = [];
      for (const name of names.filter((each) => each.endsWith(MARK_SUFFIX)).slice(0, MARKS_MAX)) {
        const mark = await parse(path.join(root, name));
        if (mark?.guardId === guardId) marks.push(await describe(mark));
      }
      return marks;
    },
    remove: async (captureId) => await rm(markPath(root, captureId), { force: true }),
  };
}

async function listNames(root: string): Promise<string[]> {
  try {
    return await readdir(root);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Judged by the schema, which no undefined passes.
    return undefined;
  }
}
