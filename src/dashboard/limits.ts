/** Lists that are filtered in the browser; the largest installation has far fewer. */
export const VMS_MAX = 5000;
export const SNAPSHOTS_OF_VM_MAX = 2000;
/** Lists that grow without end are read in steps of this size. */
export const LIST_STEP = 100;
