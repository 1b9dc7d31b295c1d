import type { EventResource } from '../../contract/events.ts';
import type { OperationId } from '../../contract/routes.ts';

/** Which answers an event makes out of date. */
const TOUCHED: Readonly<Record<EventResource, readonly OperationId[]>> = {
  vm: ['vmList', 'vmGet'],
  snapshot: ['snapshotList', 'snapshotGet', 'vmList', 'vmGet'],
  request: ['requestList', 'requestGet', 'snapshotList', 'snapshotGet'],
  job: ['jobList', 'jobGet', 'hostList'],
  host: ['hostList'],
  repository: ['repositoryList'],
  schedule: [],
  'audit-event': ['auditEventList'],
};

const PROGRESS_TOUCHED: readonly OperationId[] = ['jobList', 'jobGet'];

/** Null: everything. */
export function touchedQueries(event: {
  readonly type: string;
  readonly resource?: EventResource | undefined;
}): readonly OperationId[] | null {
  if (event.resource === undefined) return null;
  return event.type === 'progress' ? PROGRESS_TOUCHED : TOUCHED[event.resource];
}
