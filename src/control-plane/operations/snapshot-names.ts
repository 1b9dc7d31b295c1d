import { requestParametersSchema, type RequestParameters } from '../../contract/requests.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Reader, Writer } from '../database/catalog.ts';
import { listRequests } from '../database/requests.ts';
import { isSnapshotNameTaken } from '../database/snapshots.ts';

interface Named {
  readonly id: string;
  readonly name: string;
}

/** A wished name is taken as it is, or refused with `name_taken`; without one, a free one is made. */
export async function chooseSnapshotName(
  tx: Writer,
  vm: Named,
  choice: { readonly wished: string | undefined; readonly now: Date },
): Promise<string> {
  if (choice.wished === undefined) return await findFreeName(tx, vm, choice.now);
  await requireFreeName(tx, vm, choice.wished);
  return choice.wished;
}

export async function requireFreeName(db: Reader, vm: Named, name: string): Promise<void> {
  if (await isSnapshotNameTaken(db, { vmId: vm.id, name })) throw nameTaken(vm.name, name);
}

/** `<vm>_<UTC time>`, which sorts by age and needs no quoting for a plain VM name. */
function defaultSnapshotName(vmName: string, now: Date): string {
  const time = now.toISOString().replaceAll(/[-:]|\.\d+/g, '');
  const printable = vmName.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}/\\]/gu, '-').trim();
  return `${printable.slice(0, 100)}_${time}`;
}

/** More wishes for one VM within one second are a mistake, and told so. */
const NAMES_PER_SECOND = 100;

/** The default name, numbered when another snapshot, or a wish that waits, of this second has it. */
async function findFreeName(
  tx: Writer,
  vm: { readonly id: string; readonly name: string },
  now: Date,
): Promise<string> {
  const base = defaultSnapshotName(vm.name, now);
  const waiting = await listRequests(
    tx,
    { operations: ['create'], states: ['pending'], vmId: vm.id },
    { limit: NAMES_PER_SECOND },
  );
  const wished = new Set(
    waiting.map(({ parameters }) => requestParametersSchema.parse(parameters)).map(nameOf),
  );
  for (let count = 1; count <= NAMES_PER_SECOND; count += 1) {
    const name = count === 1 ? base : `${base}-${count}`;
    if (!wished.has(name) && !(await isSnapshotNameTaken(tx, { vmId: vm.id, name }))) return name;
  }
  throw nameTaken(vm.name, base);
}

const nameOf = (parameters: RequestParameters): string | undefined =>
  parameters.operation === 'create' ? parameters.name : undefined;

const nameTaken = (vmName: string, name: string): OperationError =>
  new OperationError(
    'name_taken',
    `${vmName} has a snapshot named "${name}" already. Choose another name, or delete that one.`,
    { details: { name } },
  );
