import type { ClonePlan, CloneRequest, RollbackRequest } from '../driver.ts';
export function planRollback(_request: RollbackRequest, _currentXml: string): ClonePlan {
  throw new Error('x');
}
export function planClone(_request: CloneRequest): ClonePlan {
  throw new Error('x');
}
