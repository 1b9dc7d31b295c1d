import type { Decision } from './confirmation.ts';
import type { Job } from './jobs.ts';
import type { Request } from './requests.ts';
import type { JobKind } from './scalars.ts';
import type { Snapshot, SnapshotState } from './snapshots.ts';
import type { Vm } from './vms.ts';

/** Whether the state of a thing allows an act; rights are another question. */
export type Verdict =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly reason: string };

const YES: Verdict = { allowed: true };
const no = (reason: string): Verdict => ({ allowed: false, reason });

const ALL_SNAPSHOT_REASONS: Readonly<Record<SnapshotState, string>> = {
  creating: 'The snapshot is still being taken.',
  active: '',
  deleting: 'The snapshot is being deleted.',
  deleted: 'The snapshot was deleted.',
  failed: 'The snapshot was not completed; it can only be deleted.',
  damaged: 'The snapshot is damaged: its stored data is not what was captured.',
};

const READABLE: readonly SnapshotState[] = ['active'];
const DELETABLE: readonly SnapshotState[] = ['active', 'failed', 'damaged'];
const VERIFIABLE: readonly SnapshotState[] = ['active', 'damaged'];

const BUSY_REASONS: Readonly<Record<JobKind, string>> = {
  create: 'The snapshot is still being taken.',
  restore: 'A restore from this snapshot is under way.',
  delete: 'The snapshot is about to be deleted.',
  export: 'An export of this snapshot is under way.',
  verify: 'This snapshot is being verified.',
  collect: 'The repository is being collected.',
};

type SnapshotFacts = Pick<Snapshot, 'state' | 'pinned' | 'busyWith'>;

const inState = (snapshot: SnapshotFacts, allowed: readonly SnapshotState[]): Verdict =>
  allowed.includes(snapshot.state) ? YES : no(ALL_SNAPSHOT_REASONS[snapshot.state]);

function readable(snapshot: SnapshotFacts): Verdict {
  if (snapshot.busyWith?.operation === 'delete') return no(BUSY_REASONS.delete);
  return inState(snapshot, READABLE);
}

export const snapshotCan = {
  restore: readable,
  export: readable,
  verify: (snapshot: SnapshotFacts): Verdict => {
    if (snapshot.busyWith?.operation === 'delete' || snapshot.busyWith?.operation === 'verify')
      return no(BUSY_REASONS[snapshot.busyWith.operation]);
    return inState(snapshot, VERIFIABLE);
  },
  delete: (snapshot: SnapshotFacts): Verdict => {
    if (snapshot.busyWith) return no(BUSY_REASONS[snapshot.busyWith.operation]);
    if (snapshot.pinned) return no('The snapshot is pinned; unpin it first.');
    return inState(snapshot, DELETABLE);
  },
  edit: (snapshot: SnapshotFacts): Verdict =>
    snapshot.state === 'deleting' || snapshot.state === 'deleted'
      ? no(ALL_SNAPSHOT_REASONS[snapshot.state])
      : YES,
  /** Rolling back needs the VM as well; a new VM can be made without it. */
  rollBack: (snapshot: SnapshotFacts, vm: Pick<Vm, 'present' | 'description'> | null): Verdict => {
    const verdict = readable(snapshot);
    if (!verdict.allowed) return verdict;
    if (!vm?.present)
      return no('The VM is gone from its host; make a new VM from the snapshot instead.');
    if (vm.description.jobActive) return no('libvirt is busy with another job on this VM.');
    return YES;
  },
};

export const vmCan = {
  capture: (vm: Pick<Vm, 'present' | 'state' | 'description'>): Verdict => {
    if (!vm.present) return no('The VM is gone from its host.');
    if (vm.description.jobActive) return no('libvirt is busy with another job on this VM.');
    if (vm.state === 'crashed')
      return no('The guest has crashed; stop the VM or start it anew first.');
    if (vm.state === 'other') return no('The VM is between states; try again in a moment.');
    return YES;
  },
};

const REQUEST_DECIDED: Readonly<Record<Exclude<Request['state'], 'pending'>, string>> = {
  approved: 'The request was approved already.',
  executing: 'The request is being executed.',
  succeeded: 'The request was executed already.',
  failed: 'The request was executed and failed.',
  rejected: 'The request was rejected.',
  expired: 'The request expired.',
  cancelled: 'The request was cancelled.',
};

type RequestFacts = Pick<Request, 'state' | 'requestedBy' | 'expiresAt'> & {
  readonly decisions: readonly Pick<Decision, 'kind' | 'by' | 'counts'>[];
};

/** A request whose time ran out is over, though nobody may have written it down yet. */
function undecided(request: RequestFacts, now: string): Verdict {
  if (request.state !== 'pending') return no(REQUEST_DECIDED[request.state]);
  return request.expiresAt !== null && request.expiresAt <= now ? no(REQUEST_DECIDED.expired) : YES;
}

/** `now` is an ISO time in UTC, as all times of the contract. */
export const requestCan = {
  approve: (request: RequestFacts, who: { id: string; now: string }): Verdict => {
    const open = undecided(request, who.now);
    if (!open.allowed) return open;
    if (request.requestedBy.id === who.id)
      return no('Somebody else than the requester has to approve.');
    const own = request.decisions.some(
      ({ kind, by, counts }) => kind === 'approve' && counts && by.id === who.id,
    );
    return own ? no('You approved already; somebody else has to approve as well.') : YES;
  },
  reject: undecided,
  renew: undecided,
  override: undecided,
  cancel: (
    request: RequestFacts,
    who: { id: string; now: string; isAdministrator: boolean },
  ): Verdict => {
    if (request.state !== 'approved' && request.state !== 'executing') {
      const open = undecided(request, who.now);
      if (!open.allowed) return open;
    }
    return who.isAdministrator || request.requestedBy.id === who.id
      ? YES
      : no('Only who asked for something, or an administrator, can cancel it.');
  },
};

export const jobCan = {
  cancel: (job: Pick<Job, 'state' | 'cancelRequested'>): Verdict => {
    if (job.state === 'undoing') return no('The job is being undone already.');
    if (job.state !== 'queued' && job.state !== 'running') return no('The job is over.');
    if (job.cancelRequested) return no('The job was told to stop already.');
    return YES;
  },
};

export const requestIsOver = (state: Request['state']): boolean =>
  state !== 'pending' && state !== 'approved' && state !== 'executing';

export const jobIsOver = (state: Job['state']): boolean =>
  state === 'succeeded' || state === 'failed' || state === 'cancelled';
